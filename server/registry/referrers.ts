// GET /v2/<name>/referrers/<digest>: what refers to a manifest, from our index; what was pushed by clients that
// keep the referrers tag schema comes first. The registry itself decides what is still there.
import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import { REFERRERS_PAGE_MAX } from '../limits.ts'
import { exchangeWith, manifestPath, unexpected } from './exchange.ts'
import { isDigest } from './names.ts'
import { isArtifactType, ReferrerDescriptor } from './referrer.ts'
import type { ReferrerStore } from './referrer-store.ts'
import { replyOciIndex } from './replies.ts'
import type { RegistryUpstream } from './upstream.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const CHECKS_AT_ONCE = 8

export interface ReferrersOptions {
  upstream: RegistryUpstream
  store: ReferrerStore
  manifestExists(repo: string, digest: string): Promise<boolean>
}

export interface ReferrersRequest {
  repo: string
  digest: string
  params: URLSearchParams
}

export function createReferrersEndpoint({ upstream, store, manifestExists }: ReferrersOptions) {
  return async (res: ServerResponse, request: ReferrersRequest) => {
    const { repo, digest: subject, params } = request
    const artifactType = params.get('artifactType') || undefined
    const last = params.get('last') ?? ''
    const after = isDigest(last) ? last : undefined
    const isPossible = artifactType === undefined || isArtifactType(artifactType)
    const limit = REFERRERS_PAGE_MAX + 1
    const found = isPossible ? await store.list({ repo, subject, artifactType, after, limit }) : []
    const page = found.slice(0, REFERRERS_PAGE_MAX)
    const tagged = after === undefined ? await fromTag(repo, subject) : []
    const wanted = tagged.filter((each) => !artifactType || each.artifactType === artifactType)
    const known = new Set(wanted.map(({ digest }) => digest))
    const present = await stillThere(repo, page)
    const manifests = [...wanted, ...present.filter(({ digest }) => !known.has(digest))]
    if (artifactType) res.setHeader('oci-filters-applied', 'artifactType')
    const end = page.at(-1)?.digest
    if (found.length > page.length && end !== undefined) {
      const query = new URLSearchParams({ ...(artifactType ? { artifactType } : {}), last: end })
      res.setHeader('link', `</v2/${repo}/referrers/${subject}?${query}>; rel="next"`)
    }
    replyOciIndex(res, { schemaVersion: 2, mediaType: INDEX_TYPE, manifests })
  }

  async function stillThere(
    repo: string,
    page: readonly ReferrerDescriptor[],
  ): Promise<ReferrerDescriptor[]> {
    const present: ReferrerDescriptor[] = []
    const gone: string[] = []
    for (let n = 0; n < page.length; n += CHECKS_AT_ONCE) {
      const some = page.slice(n, n + CHECKS_AT_ONCE)
      const exist = await Promise.all(some.map(({ digest }) => manifestExists(repo, digest)))
      for (const [m, descriptor] of some.entries()) {
        if (exist[m]) present.push(descriptor)
        else gone.push(descriptor.digest)
      }
    }
    await store.forget(repo, gone)
    return present
  }

  async function fromTag(repo: string, subject: string): Promise<ReferrerDescriptor[]> {
    const path = manifestPath(repo, referrersTag(subject))
    const headers = { accept: INDEX_TYPE }
    const reply = await exchangeWith(upstream, { method: 'GET', path, headers })
    if (reply.status === 404) return []
    if (reply.status !== 200) throw unexpected('GET', path, reply.status)
    return entriesOf(reply.body)
  }
}

const Index = z.object({ manifests: z.array(z.unknown()) })

function entriesOf(body: Buffer): ReferrerDescriptor[] {
  const index = Index.safeParse(JSON.parse(body.toString('utf8')))
  const entries = index.success ? index.data.manifests : []
  return entries.flatMap((entry) => {
    const parsed = ReferrerDescriptor.safeParse(entry)
    return parsed.success ? [parsed.data] : []
  })
}

/** The tag under which clients of registries without this API keep the list. */
export function referrersTag(digest: string): string {
  const [algorithm = '', encoded = ''] = digest.split(':')
  const clean = (text: string, length: number) => text.slice(0, length).replace(/[^\w.-]/g, '-')
  return `${clean(algorithm, 32)}-${clean(encoded, 64)}`
}
