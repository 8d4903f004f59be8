// What a ref update means here: pure, so that the hook and the reconciler decide alike.
import { BRANCHES } from '../apps/branch-name.ts'
import type { EffectiveSettings } from '../apps/schema.ts'
import { REF_NAME_BYTES_MAX } from '../limits.ts'
import { BUILD_TAGS } from './build-tags.ts'
import { type RefUpdate, ZERO_OID } from './pkt-line.ts'
import { shellWord } from './shell-word.ts'

export type Classified =
  | { kind: 'build'; update: RefUpdate; branch: string }
  | { kind: 'stored'; update: RefUpdate; branch: string }
  | { kind: 'tag'; update: RefUpdate }
  | { kind: 'unchanged'; update: RefUpdate }
  | { kind: 'deleted'; update: RefUpdate }
  | { kind: 'refused'; update: RefUpdate; reason: string; hint: string }

const TAGS = 'refs/tags/'
const HOSTED_HINT = 'push branches and tags only: git push hypeman --all, then --tags'
/** A fetch brings them along, and then --tags pushes them. */
const BUILD_TAGS_HINT =
  'choose another tag name; for one that was fetched and is no longer here: git tag -d'
/** git allows line separators of Unicode in names; terminals and regular expressions do not agree on them. */
const UNSHOWABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** The settings of an app that decide over its refs. */
export type RefRules = Pick<EffectiveSettings, 'deployBranches' | 'branchPolicy'>

export function classify(update: RefUpdate, rules: RefRules): Classified {
  const { ref, oldSha, newSha } = update
  const { deployBranches, branchPolicy } = rules
  const unhosted = whyNotHosted(ref)
  if (unhosted !== undefined) {
    return { kind: 'refused', update, reason: unhosted, hint: HOSTED_HINT }
  }
  const isDeletion = newSha === ZERO_OID
  if (ref.startsWith(BUILD_TAGS)) {
    if (oldSha === newSha && !isDeletion) return { kind: 'unchanged', update }
    const reason = `${ref} is for the server: it writes these tags when a build is ready`
    return { kind: 'refused', update, reason, hint: BUILD_TAGS_HINT }
  }
  if (ref.startsWith(TAGS)) return { kind: isDeletion ? 'deleted' : 'tag', update }
  const branch = ref.slice(BRANCHES.length)
  const isDeploy = deployBranches.includes(branch)
  if (isDeletion && isDeploy) {
    const reason = `${branch} is a deploy branch and cannot be deleted`
    return { kind: 'refused', update, reason, hint: 'change deploy_branches of the app first' }
  }
  if (isDeletion) return { kind: 'deleted', update }
  if (isDeploy || branchPolicy === 'build') return { kind: 'build', update, branch }
  if (branchPolicy === 'warn') return { kind: 'stored', update, branch }
  const reason = `${branch} is not a deploy branch of this app; those are ${deployBranches.join(', ')}`
  return { kind: 'refused', update, reason, hint: howToBuild(branch, rules) }
}

/** For a branch that is not built. */
export function howToBuild(branch: string, { deployBranches }: RefRules): string {
  const refspec = shellWord(`${branch}:${deployBranches[0] ?? 'main'}`)
  return `to build it: git push hypeman ${refspec}`
}

/** One sentence, or undefined for a branch or tag. */
export function whyNotHosted(ref: string): string | undefined {
  if (Buffer.byteLength(ref) > REF_NAME_BYTES_MAX) {
    return `${ref.slice(0, 40)}… is longer than ${REF_NAME_BYTES_MAX} bytes`
  }
  const shown = ref.replace(UNSHOWABLE, '?')
  if (shown !== ref) return `${shown} has characters that cannot be shown`
  if (isBelow(BRANCHES, ref) || isBelow(TAGS, ref)) return undefined
  return `${ref} is not hosted here; only branches and tags are`
}

function isBelow(folder: string, ref: string): boolean {
  return ref.startsWith(folder) && ref.length > folder.length
}
