// Whether everything that was promised holds, from what is left behind: the rows, the repositories, the registry,
// the processes and folders. It trusts nobody's word and changes nothing.
import { checkAttempts } from './audit/attempts.ts'
import { checkBuilds } from './audit/builds.ts'
import { readFacts } from './audit/facts.ts'
import { checkImages } from './audit/images.ts'
import type { AuditInput, Check, Finding } from './audit/input.ts'
import { checkLeftovers } from './audit/leftovers.ts'
import { checkLimits } from './audit/limits.ts'
import { checkLogs } from './audit/logs.ts'
import { checkPushes } from './audit/pushes.ts'
import { checkQueue } from './audit/queue.ts'
import { checkRefs } from './audit/refs.ts'
import { readRepositories } from './audit/repositories.ts'
import { checkSources } from './audit/sources.ts'

export type { AuditInput, Finding, Pushed } from './audit/input.ts'

const ALWAYS: readonly Check[] = [
  checkBuilds,
  checkLogs,
  checkAttempts,
  checkLimits,
  checkQueue,
  checkPushes,
  checkRefs,
  checkSources,
  checkLeftovers,
]

/** Empty: all invariants hold. To be called when nothing is under way, and the reconciler has been round. */
export async function audit(given: AuditInput): Promise<Finding[]> {
  const input = { ...given, isStopped: given.isStopped ?? given.pids.length === 0 }
  const facts = await readFacts(input.databaseUrl)
  const repositories = await readRepositories(input.repositories, facts.apps)
  const findings: Finding[] = []
  for (const check of input.isStopped ? ALWAYS : [...ALWAYS, checkImages]) {
    findings.push(...(await check(facts, input, repositories)))
  }
  return findings
}
