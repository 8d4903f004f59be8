// How many attempts ran at each moment, against the limits: of all, of a tenant, of a worker.
import { instant, shownAttempt } from './attempts.ts'
import type { AttemptFact, Facts } from './facts.ts'
import type { AuditInput, Finding } from './input.ts'

export function checkLimits(
  { attempts }: Pick<Facts, 'attempts'>,
  { limits }: Pick<AuditInput, 'limits'>,
): Finding[] {
  const findings: Finding[] = []
  const within = (whose: string, some: readonly AttemptFact[], most: number | undefined) => {
    const crowd = most === undefined ? undefined : firstAbove(some, most)
    if (!crowd) return
    const who = crowd.running.map(shownAttempt).join('; ')
    const what = `${crowd.running.length} of at most ${most} ${whose} at ${instant(crowd.at)}: ${who}`
    findings.push({ invariant: 'limits are never exceeded', what })
  }
  within('builds', attempts, limits.global)
  const of = (key: 'tenant' | 'worker', name: string) => attempts.filter((one) => one[key] === name)
  for (const [tenant, most] of Object.entries(limits.perTenant ?? {})) {
    within(`builds of tenant ${tenant}`, of('tenant', tenant), most)
  }
  for (const [worker, most] of Object.entries(limits.perWorkerSlots ?? {})) {
    // A worker leaves a build when its lease is over, which is before somebody takes that back.
    const kept = of('worker', worker).filter(({ outcome }) => outcome !== 'lost')
    within(`builds on worker ${worker}`, kept, most)
  }
  return findings
}

/** Only a beginning can be too much; what ends at that very moment has ended. */
function firstAbove(attempts: readonly AttemptFact[], most: number) {
  const inOrder = attempts.toSorted((a, b) => a.from - b.from)
  let running: AttemptFact[] = []
  for (const one of inOrder) {
    running = running.filter(({ until }) => until === null || until > one.from)
    running.push(one)
    if (running.length > most) return { at: one.from, running }
  }
  return undefined
}
