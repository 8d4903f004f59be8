// What happened in a run, in numbers: so that nobody takes one for proof in which nothing broke.
import { type Db, rows } from '../../server/db/pool.ts'
import type { Ledger } from './ledger.ts'
import type { FaultKind } from './plan.ts'

export interface Summary {
  pushes: number
  builds: number
  /** Kinds of faults that found nothing to break. */
  missed: string[]
  lines: string[]
}

export async function summaryOf(
  db: Db,
  ledger: Ledger,
  kinds: readonly FaultKind[],
): Promise<Summary> {
  const { pushes, acts, cancelled } = ledger
  const faults = tally(ledger.faults)
  const builds = await counted(
    db,
    `concat_ws(' ', status, failure_class, case when superseded_by is not null then 'superseded' end) from builds`,
  )
  const attempts = await counted(db, 'outcome from attempts')
  const outcomes = tally(pushes.map(({ outcome }) => outcome))
  return {
    pushes: pushes.length,
    builds: total(builds),
    missed: kinds.filter((kind) => !faults.has(kind)),
    lines: [
      line('faults', new Map(kinds.map((kind) => [kind, faults.get(kind) ?? 0]))),
      line('pushes', outcomes),
      line('other acts', tally(acts)),
      `${cancelled.length} cancels acknowledged`,
      line('builds', builds),
      line('attempts', attempts),
    ],
  }
}

const total = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((sum, count) => sum + count, 0)

const line = (what: string, counts: ReadonlyMap<string, number>) =>
  `${total(counts)} ${what}: ${[...counts].map(([name, count]) => `${count} ${name}`).join(', ')}`

function tally(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

async function counted(db: Db, what: string): Promise<Map<string, number>> {
  const found = await rows<{ name: string; count: number }>(
    db,
    `select name, count(*)::int from (select ${what}) as t (name) group by name order by name`,
  )
  return new Map(found.map(({ name, count }) => [name, count]))
}
