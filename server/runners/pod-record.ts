// What a pod owns, written down as it comes to be, so that the next server can end exactly that after a
// crash: processes by number and start time (a number alone may have been given to another), cgroups by path.
import { readFile, rename, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { POD_KILL_DEADLINE_MS } from '../limits.ts'
import { type Cgroup, type CgroupLimits, createCgroup } from './cgroup.ts'

const POLL_MS = 20

const ProcessRecord = z.object({
  name: z.string(),
  pid: z.int().min(2),
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat. */
  startTicks: z.string(),
})
export type ProcessRecord = z.infer<typeof ProcessRecord>

const PodRecord = z.object({
  id: z.string(),
  processes: z.array(ProcessRecord),
  cgroups: z.array(z.string()),
})
export type PodRecord = z.infer<typeof PodRecord>

export async function writeRecord(file: string, record: PodRecord): Promise<void> {
  await writeFile(`${file}.new`, JSON.stringify(record))
  await rename(`${file}.new`, file)
}

/** Undefined when there is none or it can't be understood: then nothing may be killed on its word. */
export async function readRecord(file: string): Promise<PodRecord | undefined> {
  try {
    return PodRecord.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch {
    return undefined
  }
}

/** The pod's control groups; where they may come to be is on record before the first is made. */
export async function recordedCgroup(
  record: PodRecord,
  file: string,
  limits: CgroupLimits,
): Promise<Cgroup> {
  const cgroup = await createCgroup(record.id, limits, {
    async onPlan(paths) {
      record.cgroups = paths
      await writeRecord(file, record)
    },
  })
  record.cgroups = [...cgroup.paths]
  return cgroup
}

export async function describeProcess(
  name: string,
  pid: number,
): Promise<ProcessRecord | undefined> {
  const stat = await readStat(pid)
  return stat && { name, pid, startTicks: stat.startTicks }
}

/** Kills the process if it is still the recorded one; resolves when it is gone. */
export async function killRecorded(record: ProcessRecord): Promise<void> {
  const deadline = performance.now() + POD_KILL_DEADLINE_MS
  for (let asked = false; await isAlive(record); asked = true) {
    if (!asked) kill(record.pid)
    if (performance.now() > deadline)
      throw new Error(`${record.name} (${record.pid}) can't be killed`)
    await sleep(POLL_MS)
  }
}

/** A zombie has ended: its parent has only not looked yet. */
async function isAlive(record: ProcessRecord): Promise<boolean> {
  const stat = await readStat(record.pid)
  return stat !== undefined && stat.startTicks === record.startTicks && stat.state !== 'Z'
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself in between.
  }
}

async function readStat(pid: number): Promise<{ state: string; startTicks: string } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  // The second field is the name in parentheses, and may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, startTicks] = [fields[0], fields[19]]
  return state && startTicks ? { state, startTicks } : undefined
}
