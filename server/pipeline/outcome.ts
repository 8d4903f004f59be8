// How one attempt of a build ended, as the worker sees it.
import type { BuildResult } from '../../agent/protocol.ts'
import type { Lease } from '../queue/lease.ts'
import type { FoundImage } from '../registry/find-image.ts'
import type { Redactor } from '../secrets/redact.ts'
import type { Log } from '../telemetry/log.ts'
import { BuildFailure } from './failure.ts'
import type { Resources } from './pod-config.ts'
import { redactFailure, redactResult } from './redacted.ts'
import type { StopReason } from './watchdog.ts'

export type Outcome =
  | { kind: 'result'; result: BuildResult; image: FoundImage }
  | { kind: 'failure'; failure: BuildFailure }
  | { kind: 'stopped'; reason: StopReason }

export function redactOutcome(outcome: Outcome, { text }: Redactor): Outcome {
  switch (outcome.kind) {
    case 'result':
      return { ...outcome, result: redactResult(outcome.result, text) }
    case 'failure':
      return { ...outcome, failure: redactFailure(outcome.failure, text) }
    case 'stopped':
      return outcome
  }
}

/** `trouble`: why a source that had to be fetched could not be reached, as the way out knows it. */
export function toFailure(result: BuildResult, trouble?: string): BuildFailure {
  const { failure_class: failureClass = 'infra', error = 'the build failed' } = result
  const more = failureClass === 'source' && trouble !== undefined ? ` (${trouble})` : ''
  const isAway = failureClass === 'registry' && REGISTRY_AWAY.test(error)
  const mayRetry = failureClass === 'infra' || isAway
  return Object.assign(new BuildFailure(failureClass, error + more), { mayRetry })
}

/**
 * In BuildKit's words: it has tried for a while, and nobody has answered, or not now; or an upload was cut, of which
 * the registry knows something else than who sends it.
 */
const REGISTRY_AWAY =
  /: 50[234] |connection re(?:set|fused)|\bEOF\b|broken pipe|i\/o timeout|blob upload (?:invalid|unknown)|invalid content range/

/** The end of an attempt that was stopped from outside. */
export async function concludeStopped(
  lease: Lease,
  reason: StopReason,
  { resources, log }: { resources: Resources; log: Log },
): Promise<void> {
  switch (reason) {
    case 'cancel':
      await lease.cancelled()
      return
    case 'drain':
      await lease.handBack()
      return
    case 'timeout': {
      const error = `the build took longer than its timeout of ${resources.timeoutSeconds} s`
      await lease.fail({ failureClass: 'timeout', error })
      return
    }
    case 'lease_lost':
      log.warn({ buildId: lease.buildId }, 'lease lost; another worker has the build')
  }
}
