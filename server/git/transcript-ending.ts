// The last lines of a transcript: what came of the build, why it failed, what to do about it.
import type { Build, FailureClass } from '../builds/schema.ts'
import { sanitizeLine } from './sanitize.ts'
import { DETAIL, duration } from './transcript-grammar.ts'

const SHA_CHARS_SHOWN = 10

const HINTS: Record<FailureClass, string> = {
  build: 'the Dockerfile, or what it runs, has to be mended',
  source: 'the source cannot be used as it is',
  timeout: 'raise policy.timeout_seconds of the app, or make the build faster',
  oom: 'raise policy.memory_mb of the app, or make the build use less memory',
  disk: "the disk of the build's VM is full: make the build write less",
  registry: 'an image could not be pulled or pushed: see above, then try again',
  infra: 'this is not the fault of the source: try again, and tell the operator if it stays',
  lost: 'the worker was lost: try again',
}
const TRY_AGAIN = 'the branch has moved all the same; a new commit is built again'

export interface FailedTail {
  name: string
  lines: readonly string[]
}

export function endingLines(build: Build, failed: FailedTail | undefined): string[] {
  if (build.status === 'ready') return readyLines(build)
  if (build.status === 'cancelled') return [cancelledLine(build)]
  if (build.status !== 'failed') return []
  const failureClass = build.failure_class ?? 'infra'
  const reason = sanitizeLine(build.error ?? 'for an unknown reason')
  return [
    ...tailLines(failed),
    `error: build ${build.id} failed: ${reason} (class ${failureClass})`,
    `hint: ${HINTS[failureClass]}`,
    `hint: ${TRY_AGAIN}`,
  ]
}

function cancelledLine({ id, superseded_by: newer }: Build): string {
  if (newer === undefined) return `error: build ${id} was cancelled`
  return `warning: build ${id} was superseded by build ${newer} of a newer push`
}

function tailLines(failed: FailedTail | undefined): string[] {
  if (!failed || failed.lines.length === 0) return []
  return [
    `${DETAIL}Last lines of ${failed.name}:`,
    ...failed.lines.map((line) => `${DETAIL}  ${line}`),
  ]
}

function readyLines(build: Build): string[] {
  const { id, phases = {}, duration_ms: total = 0 } = build
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
