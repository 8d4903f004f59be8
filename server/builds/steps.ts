// The steps of a build's latest attempt, folded from its events.
import type { Queryable } from '../db/pool.ts'
import { readFacts } from './event-store.ts'
import type { BuildStep, StepsSummary } from './schema.ts'

/** In the order in which they began, each with its latest state and everything said of it so far. */
export async function readSteps(db: Queryable, buildId: string): Promise<BuildStep[]> {
  let steps = new Map<number, BuildStep>()
  for (const fact of await readFacts(db, buildId)) {
    if (fact.type === 'attempt') steps = new Map()
    if (fact.type === 'step') steps.set(fact.step.n, { ...steps.get(fact.step.n), ...fact.step })
  }
  return [...steps.values()].sort((a, b) => a.n - b.n)
}

/** undefined when nothing is known of any step. */
export function summarize(
  steps: readonly BuildStep[],
  { ended }: { ended: boolean },
): StepsSummary | undefined {
  if (steps.length === 0) return undefined
  const count = (state: BuildStep['state']) => steps.filter((step) => step.state === state).length
  return {
    total: steps.length,
    cached: count('cached'),
    done: count('done'),
    failed: count('failed'),
    running: ended ? 0 : count('started'),
  }
}
