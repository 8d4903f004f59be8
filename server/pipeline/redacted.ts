// What a build says, without its secrets: only free text is touched, so that a secret that happens to be
// part of a digest, a time or a state leaves those as they are.
import type { BuildResult, Step } from '../../agent/protocol.ts'
import type { NewEvent } from '../builds/event-store.ts'
import type { Redactor } from '../secrets/redact.ts'
import { storable } from '../storable.ts'
import { BuildFailure } from './failure.ts'
import type { LogWriter } from './log-writer.ts'

type Text = Redactor['text']

const DIGEST = /^sha256:[0-9a-f]{64}$/
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\dZ+:-]*$/

/** Before the writer cuts anything: half a secret would not be found. */
export function redactedWriter({ write, close }: LogWriter, { text }: Redactor): LogWriter {
  return { write: (event) => write(redactEvent(event, text)), close }
}

function redactEvent(event: NewEvent, text: Text): NewEvent {
  switch (event.type) {
    case 'log':
      return { ...event, line: text(event.line) }
    case 'step':
      return { ...event, step: redactStep(event.step, text) }
    case 'attempt':
      return { ...event, reason: text(event.reason) }
    case 'status':
      return event
  }
}

function redactStep(step: Step, text: Text): Step {
  const error = step.error === undefined ? {} : { error: text(step.error) }
  return { ...step, name: text(step.name), ...error }
}

export function redactResult(result: BuildResult, text: Text): BuildResult {
  const { error, failed_step: step } = result
  return {
    ...result,
    ...(error === undefined ? {} : { error: text(error) }),
    ...(step === undefined
      ? {}
      : {
          failed_step: { ...step, name: text(step.name), last_lines: step.last_lines.map(text) },
        }),
    provenance: redactValues(result.provenance, text),
  }
}

export function redactFailure(failure: BuildFailure, text: Text): BuildFailure {
  const { failureClass, message, mayRetry } = failure
  // Without its cause, whose text may hold what this one does not.
  return Object.assign(new BuildFailure(failureClass, text(message)), { mayRetry })
}

/** Every string of a document but digests and times; names of fields stay, as far as they can be kept. */
function redactValues<T>(value: T, text: Text): T {
  if (typeof value === 'string') {
    return (DIGEST.test(value) || TIME.test(value) ? value : text(value)) as T
  }
  if (Array.isArray(value)) return value.map((each) => redactValues(each, text)) as T
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, each]) => [
    storable(key),
    redactValues(each, text),
  ])
  return Object.fromEntries(entries) as T
}
