// What a ref update means here: pure, so that the hook and the reconciler decide alike.
import { type RefUpdate, ZERO_OID } from './pkt-line.ts'

export type Classified =
  | { kind: 'build'; update: RefUpdate; branch: string }
  | { kind: 'stored'; update: RefUpdate; branch: string }
  | { kind: 'tag'; update: RefUpdate }
  | { kind: 'deleted'; update: RefUpdate }
  | { kind: 'refused'; update: RefUpdate; reason: string; hint: string }

const BUILD_TAGS = 'refs/tags/builds/'

export function classify(update: RefUpdate, deployBranches: readonly string[]): Classified {
  const { ref, newSha } = update
  const isDeletion = newSha === ZERO_OID
  if (ref.startsWith(BUILD_TAGS)) {
    const reason = `${ref} is written by the server when a build is ready`
    return { kind: 'refused', update, reason, hint: 'choose another tag name' }
  }
  if (ref.startsWith('refs/heads/')) {
    const branch = ref.slice('refs/heads/'.length)
    const isDeploy = deployBranches.includes(branch)
    if (isDeletion && isDeploy) {
      const reason = `${branch} is a deploy branch and cannot be deleted`
      return { kind: 'refused', update, reason, hint: 'change deploy_branches of the app first' }
    }
    if (isDeletion) return { kind: 'deleted', update }
    return { kind: isDeploy ? 'build' : 'stored', update, branch }
  }
  if (ref.startsWith('refs/tags/')) return { kind: isDeletion ? 'deleted' : 'tag', update }
  const reason = `${ref} is not hosted here; only branches and tags are`
  return { kind: 'refused', update, reason, hint: 'push refs/heads/* and refs/tags/* only' }
}
