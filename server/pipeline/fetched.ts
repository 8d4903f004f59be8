// What the agent tells of a source that it has fetched itself: taken once, before the build, and recorded. The
// host can't check it, but nothing of a tenant has run in the sandbox by then.
import type { FetchedSource } from '../../agent/protocol.ts'
import type { Provenance } from '../builds/schema.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { Lease } from '../queue/lease.ts'
import { BuildFailure } from './failure.ts'

export interface Fetched {
  /** Whether the agent fetches any of the source. */
  isFetching: boolean
  /** Undefined: the build has its source from the host. */
  onSource: ((source: FetchedSource) => Promise<void>) | undefined
  /** Throws when a build has succeeded with a source nobody knows. */
  require(): void
  provenance(): Pick<Provenance, 'source_hash' | 'source' | 'submodules'>
}

export function createFetched(
  { request, sourceHash }: Pick<ClaimedBuild, 'request' | 'sourceHash'>,
  lease: Pick<Lease, 'recordSource'>,
): Fetched {
  const { repo_url: url, submodules } = request
  if (url === undefined) {
    return {
      isFetching: submodules?.some(({ app }) => app === undefined) ?? false,
      onSource: undefined,
      require() {},
      provenance: () => ({
        source_hash: sourceHash,
        ...(submodules === undefined ? {} : { submodules }),
      }),
    }
  }
  let told: FetchedSource | undefined
  return {
    isFetching: true,
    async onSource(source) {
      if (told) throw new BuildFailure('infra', 'the build agent told of a second source')
      told = source
      await lease.recordSource(source)
    },
    require() {
      if (told) return
      const message = `the build agent has not fetched ${url}: use a builder image of the server's own version`
      throw new BuildFailure('infra', message)
    },
    provenance() {
      if (!told) return { source_hash: sourceHash }
      const { commit, ref, hash } = told
      const source = { url, commit, ...(ref === undefined ? {} : { ref }) }
      return { source_hash: hash, source }
    },
  }
}
