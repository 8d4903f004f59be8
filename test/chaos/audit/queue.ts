// When nothing runs, nothing is held, and the counters of the queue say so.
import { TERMINAL } from '../../../server/builds/schema.ts'
import type { Facts } from './facts.ts'
import type { Finding } from './input.ts'

export function checkQueue({ builds, inSlots, heldBuilders, tenants }: Facts): Finding[] {
  const running = new Set(builds.flatMap(({ id, status }) => (TERMINAL.has(status) ? [] : [id])))
  const held: string[] = []
  for (const id of inSlots)
    if (!running.has(id)) held.push(`build ${id} has ended and holds a slot`)
  for (const { id, lease_token: token } of builds) {
    if (token !== null && !running.has(id)) held.push(`build ${id} has ended and holds a lease`)
  }
  for (const { key, build } of heldBuilders) {
    if (build === null || !running.has(build))
      held.push(`builder ${key} is held for build ${build}`)
  }
  for (const count of tenants) {
    const { tenant, queued, running: runs, really_queued: waits, really_running: inSlot } = count
    if (queued === waits && runs === inSlot) continue
    held.push(
      `tenant ${tenant} counts ${queued} queued and ${runs} running builds, there are ${waits} and ${inSlot}`,
    )
  }
  return held.map((what) => ({ invariant: 'nothing holds the queue', what }))
}
