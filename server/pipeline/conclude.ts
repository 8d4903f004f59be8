// How an attempt ends: recorded, tried once more, failed, or stopped.
import { BUILD_ATTEMPTS_MAX } from '../limits.ts'
import { mayBlameDisk } from './builder-disk.ts'
import { concludeStopped, type Outcome } from './outcome.ts'
import { cacheOf, type Run, type RunsOn } from './run.ts'

/** Writes the end of the attempt. Every write is fenced: without the lease none of them does anything. */
export async function conclude(
  current: Run,
  outcome: Outcome,
  { runner, noun, log }: RunsOn,
): Promise<void> {
  const { build, lease, resources } = current
  if (outcome.kind === 'result') {
    await lease.markPushing()
    const { image, result } = outcome
    const { attestationsDigest: attestations } = image
    const recorded = await lease.recordResult(image.digest, {
      ...result.provenance,
      ...current.fetched.provenance(),
      runner: runner.name,
      boundary: runner.boundary,
      network: current.network.summary(),
      ...(attestations === undefined ? {} : { attestations_digest: attestations }),
      cache: cacheOf(current, result),
    })
    current.isRecorded = recorded
    if (recorded) return
    await current.saving?.pod.stop()
    await lease.cancelled()
    return
  }
  if (outcome.kind === 'failure') {
    const { failureClass, message, mayRetry } = outcome.failure
    if (await mayBlameDisk(current.disk, build, outcome.failure)) {
      await lease.requeue(`${message}; once more without the builder`)
      return
    }
    if (mayRetry && build.attempt < BUILD_ATTEMPTS_MAX) {
      log.warn({ buildId: build.id, message }, 'an attempt broke; once more')
      await lease.requeue(`${message}; once more in a new ${noun}`)
      return
    }
    const failed = await lease.fail({ failureClass, error: message })
    log.info({ buildId: build.id, failureClass, failed }, 'build failed')
    return
  }
  await concludeStopped(lease, outcome.reason, { resources, log })
}
