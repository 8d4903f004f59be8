// The last lines of a transcript: what came of the build, why it failed, what to do about it.

import { branchOf } from '../apps/branch-name.ts'
import type { Build, FailureClass } from '../builds/schema.ts'
import { sanitizeLine } from './sanitize.ts'
import { shellWord } from './shell-word.ts'
import type { Links } from './transcript.ts'
import { DETAIL, duration } from './transcript-grammar.ts'

const SHA_CHARS_SHOWN = 10

const HINTS: Record<FailureClass, string> = {
  build: 'the Dockerfile, or what it runs, has to be mended',
  source: 'the source cannot be used as it is',
  timeout:
    'raise policy.timeout_seconds of the app (git push -o timeout=SECONDS), or make the build faster',
  oom: 'raise policy.memory_mb of the app, or make the build use less memory',
  disk: "the disk of the build's VM is full: make the build write less",
  registry: 'an image could not be pulled or pushed: see above, then try again',
  infra: 'this is not the fault of the source: try again, and tell the operator if it stays',
  lost: 'the worker was lost: try again',
}

export interface FailedTail {
  name: string
  lines: readonly string[]
}

export interface EndingContext {
  failed: FailedTail | undefined
  links: Links
  /** The branch that waited for it, when the push was gated. */
  gatedBranch: string | undefined
}

export function endingLines(build: Build, { failed, links, gatedBranch }: EndingContext): string[] {
  const again =
    gatedBranch === undefined
      ? againLines(build, links)
      : [`hint: ${gatedBranch} has not moved; the same commit may be pushed again`]
  if (build.status === 'ready') return readyLines(build)
  if (build.status === 'cancelled') return cancelledLines(build, again)
  if (build.status !== 'failed') return []
  const failureClass = build.failure_class ?? 'infra'
  const reason = sanitizeLine(build.error ?? 'for an unknown reason')
  return [
    ...tailLines(failed),
    `error: build ${build.id} failed: ${reason} (class ${failureClass})`,
    `hint: ${HINTS[failureClass]}`,
    ...again,
  ]
}

/** The branch has moved before the build, so pushing again would say "Everything up-to-date". */
export function againLines(
  { app, ref = '', commit }: Pick<Build, 'app' | 'ref' | 'commit'>,
  { baseUrl }: Links,
): string[] {
  if (app === undefined || commit === undefined) return []
  const branch = branchOf(ref) ?? ref
  const fields = `-F app=${app} -F ${shellWord(`ref=${branch}`)} -F commit=${commit}`
  return [
    `hint: ${branch} has moved to ${commit.slice(0, SHA_CHARS_SHOWN)} all the same, so pushing it again builds nothing`,
    `hint: to build it again: curl -H "Authorization: Bearer $TOKEN" ${fields} ${baseUrl}/builds`,
  ]
}

function cancelledLines(build: Build, again: readonly string[]): string[] {
  const { id, error, superseded_by: newer } = build
  if (newer !== undefined) {
    return [`warning: build ${id} was superseded by build ${newer} of a newer push`]
  }
  const why = error === undefined ? '' : `: ${sanitizeLine(error)}`
  return [`error: build ${id} was cancelled${why}`, ...again]
}

function tailLines(failed: FailedTail | undefined): string[] {
  if (!failed || failed.lines.length === 0) return []
  return [
    `${DETAIL}Last lines of ${failed.name}:`,
    ...failed.lines.map((line) => `${DETAIL}  ${line}`),
  ]
}

function readyLines(build: Build): string[] {
  const { id, phases = {}, created_at, completed_at = created_at } = build
  const total = Date.parse(completed_at) - Date.parse(created_at)
  const parts = (['queue', 'vm', 'build', 'push'] as const).flatMap((name) => {
    const ms = phases[`${name}_ms`]
    return ms === undefined ? [] : [`${name} ${duration(ms)}`]
  })
  const times = parts.length > 0 ? ` (${parts.join(', ')})` : ''
  return [
    `success: build ${id} ready in ${duration(total)}${times}`,
    `${DETAIL}image   ${build.image_ref}`,
    ...(build.published_as === undefined ? [] : [`${DETAIL}image   ${build.published_as}`]),
    `${DETAIL}digest  ${build.image_digest}`,
    `${DETAIL}tag     builds/${id} -> ${build.commit?.slice(0, SHA_CHARS_SHOWN)}`,
  ]
}
