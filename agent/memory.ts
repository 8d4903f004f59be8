// The cgroup all build steps run in, limited so that a greedy step is killed before the agent or BuildKit
// starves. BuildKit puts every step under /buildkit by itself; the group only has to exist first.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { note } from './clock.ts'
import { environment } from './environment.ts'

const CGROUP_ROOT = '/sys/fs/cgroup'
const MiB = 1024 * 1024
const RESERVE_MIN_BYTES = 160 * MiB
const RESERVE_MAX_BYTES = 384 * MiB
const RESERVE_SHARE = 0.2

export interface StepsMemory {
  /** How many processes the kernel has killed for memory so far. */
  oomKills(): number
}

export function limitSteps(): StepsMemory {
  // Elsewhere the limit is the host's to set, and it has: on the whole sandbox.
  if (!environment.ownKernel) return { oomKills }
  const unified = existsSync(`${CGROUP_ROOT}/cgroup.controllers`)
  const folder = unified ? `${CGROUP_ROOT}/buildkit` : `${CGROUP_ROOT}/memory/buildkit`
  const limit = String(stepsBytes(totalmem()))
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(`${folder}/${unified ? 'memory.max' : 'memory.limit_in_bytes'}`, limit)
  } catch (error) {
    // The build still runs; a step that takes everything is then named less well.
    note(`build steps have no memory limit: ${error}`)
  }
  return { oomKills }
}

/** What the steps may have of the machine: the rest is for kernel, agent, BuildKit and its store. */
export function stepsBytes(total: number): number {
  const share = Math.round(total * RESERVE_SHARE)
  const reserve = Math.min(RESERVE_MAX_BYTES, Math.max(RESERVE_MIN_BYTES, share))
  return total - reserve
}

function oomKills(): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(environment.oomCounter, 'utf8'))?.[1] ?? 0)
  } catch {
    // A sandbox without control groups has no counter, and no limit that could be hit.
    return 0
  }
}
