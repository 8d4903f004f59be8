// Where the time of a build went, from the marks in its row.
import type { Phases } from './schema.ts'
import type { BuildRow } from './store.ts'

export function phasesOf(row: BuildRow): Phases | undefined {
  const built = row.pushingAt ?? row.completedAt
  const phases = {
    queue_ms: between(row.createdAt, row.claimedAt),
    vm_ms: between(row.claimedAt, row.helloAt),
    build_ms: row.helloAt ? between(row.helloAt, built) : undefined,
    push_ms: between(row.pushingAt, row.resultAt),
  }
  const present = Object.entries(phases).filter(([, value]) => value !== undefined)
  return present.length > 0 ? Object.fromEntries(present) : undefined
}

export function between(from: Date | undefined, to: Date | undefined): number | undefined {
  return from && to ? Math.max(0, to.getTime() - from.getTime()) : undefined
}
