// Which runner a worker uses: the configured one, or for `auto` the first usable one that gives each build a
// machine of its own. Never a silent fallback to something weaker: that must be asked for by name.
import { AppError } from '../errors.ts'
import type { Runner } from './runner.ts'

/** Runners come in order of preference. Throws runner_unusable with every reason. */
export async function selectRunner(
  configured: string,
  runners: readonly Runner[],
): Promise<Runner> {
  const candidates = runners.filter(({ name, boundary }) =>
    configured === 'auto' ? boundary === 'machine' : configured === name,
  )
  const reasons: string[] = []
  for (const runner of candidates) {
    const reason = await runner.unusableReason()
    if (reason === null) return runner
    reasons.push(`${runner.name}: ${reason}`)
  }
  const why = reasons.length > 0 ? reasons.join('; ') : 'there is no runner of this name'
  throw new AppError('runner_unusable', `RUNNER=${configured} can't be used: ${why}`, {
    hint: 'run `npm run doctor` to see what is missing',
  })
}
