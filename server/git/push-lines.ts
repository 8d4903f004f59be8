// What a push is told of its refs, apart from the build's own output.
import { branchOf } from '../apps/branch-name.ts'
import { AppError } from '../errors.ts'
import { type Classified, howToBuild, type RefRules } from './classify.ts'
import { errorLines } from './denial.ts'
import { type RefUpdate, ZERO_OID } from './pkt-line.ts'
import { sanitizeLine } from './sanitize.ts'
import type { Links } from './transcript.ts'
import { againLines } from './transcript-ending.ts'
import { DETAIL, STEP } from './transcript-grammar.ts'

const SHA_CHARS_SHOWN = 7
const TRIED_AGAIN = 'hint: the server tries again within a minute; there is no need to push again'
const QUEUED_LATER = 'hint: the push is stored; the server queues its build when there is room'

export function receivingLines(app: string, refs: readonly RefUpdate[]): string[] {
  return refs
    .filter(({ oldSha, newSha }) => newSha !== ZERO_OID && newSha !== oldSha)
    .map(({ ref, newSha }) => {
      const name = branchOf(ref) ?? ref
      return `${STEP}Receiving ${newSha.slice(0, SHA_CHARS_SHOWN)} for ${app} (${name})`
    })
}

export function storedLines(moved: Classified, rules: RefRules): string[] {
  if (moved.kind === 'tag') return [`${DETAIL}Stored; tags are not built`]
  if (moved.kind !== 'stored') return []
  const { branch } = moved
  return [
    `warning: ${branch} is stored but not built; deploy branches: ${rules.deployBranches.join(', ')}`,
    `hint: ${howToBuild(branch, rules)}`,
  ]
}

/** Why nothing was queued; `outcome` is what became of the branch. */
export function intakeErrorLines(error: AppError, outcome: readonly string[]): string[] {
  return [...errorLines(error).map(sanitizeLine), ...outcome]
}

/** Why a branch that has moved has no build, and how it gets one. */
export function unqueuedLines(
  error: unknown,
  { app, ref, commit }: { app: string; ref: string; commit: string },
  links: Links,
): string[] {
  if (!(error instanceof AppError)) {
    return ['error: the push is stored, but its build could not be queued', TRIED_AGAIN]
  }
  if (error.code === 'queue_full') return intakeErrorLines(error, [QUEUED_LATER])
  if (error.status >= 500) return intakeErrorLines(error, [TRIED_AGAIN])
  const again = againLines({ app, ref, commit }, links)
  return intakeErrorLines(error, ['hint: nothing was queued', ...again])
}
