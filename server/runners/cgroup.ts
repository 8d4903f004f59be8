// Limits of a pod's host processes: memory, threads, processor time. Where this process may not make control
// groups the pod runs without, and doctor says so; the guest's own size is bounded either way.
import { existsSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'

const PARENT = 'hypeman-pods'
const CPU_PERIOD_US = 100_000
const REMOVE_ATTEMPTS = 50
const REMOVE_PAUSE_MS = 20

export interface CgroupLimits {
  memoryBytes: number
  tasks: number
  cpus: number
}

export interface Cgroup {
  /** Folders below /sys/fs/cgroup; empty where no limit could be set. */
  readonly paths: readonly string[]
  add(pid: number): Promise<void>
  remove(): Promise<void>
}

interface Place {
  folder: string
  /** What is written there, in order. */
  values: [file: string, value: string][]
}

export interface CgroupOptions {
  root?: string
  /** Told of every folder that may be made, before any is. */
  onPlan?: (paths: string[]) => Promise<void>
}

export async function createCgroup(
  id: string,
  limits: CgroupLimits,
  { root = '/sys/fs/cgroup', onPlan }: CgroupOptions = {},
): Promise<Cgroup> {
  const own = parseOwnGroups(await readFile('/proc/self/cgroup', 'utf8'))
  const places = placesFor({ id, limits, root, own })
  await onPlan?.(places.flat().map(({ folder }) => folder))
  const paths: string[] = []
  for (const candidates of places) {
    // Several places may do for the same limit: the first that takes it.
    for (const place of candidates) {
      if (!(await tryPlace(place))) continue
      paths.push(place.folder)
      break
    }
  }
  return {
    paths,
    async add(pid: number): Promise<void> {
      for (const path of paths) {
        // ESRCH: the process has ended already, and its exit tells more than this could.
        await writeFile(join(path, 'cgroup.procs'), String(pid)).catch((error) => {
          if (asError(error).message.includes('ESRCH')) return
          throw error
        })
      }
    },
    remove: () => removeCgroups(paths),
  }
}

/** From /proc/self/cgroup: controller → own path; the key `` is the unified hierarchy. */
export function parseOwnGroups(text: string): Map<string, string> {
  const groups = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    for (const controller of controllers.split(',')) groups.set(controller, path)
  }
  return groups
}

function placesFor(options: {
  id: string
  limits: CgroupLimits
  root: string
  own: Map<string, string>
}): Place[][] {
  const { id, limits, root, own } = options
  const { memoryBytes, tasks, cpus } = limits
  const quota = String(Math.round(cpus * CPU_PERIOD_US))
  if (existsSync(join(root, 'cgroup.controllers'))) {
    const path = own.get('') ?? '/'
    const values: Place['values'] = [
      ['memory.max', String(memoryBytes)],
      ['pids.max', String(tasks)],
      ['cpu.max', `${quota} ${CPU_PERIOD_US}`],
    ]
    // Below our own group that needs it to be the root (a group with processes can't pass controllers on);
    // beside it works under systemd.
    const parents = [...new Set([join(root, path), join(root, dirname(path))])]
    return [parents.map((parent) => ({ folder: join(parent, PARENT, id), values }))]
  }
  const v1 = (controller: string, values: Place['values']): Place[] => {
    const path = own.get(controller)
    return path === undefined ? [] : [{ folder: join(root, controller, path, PARENT, id), values }]
  }
  return [
    v1('memory', [['memory.limit_in_bytes', String(memoryBytes)]]),
    v1('pids', [['pids.max', String(tasks)]]),
    v1('cpu', [
      ['cpu.cfs_period_us', String(CPU_PERIOD_US)],
      ['cpu.cfs_quota_us', quota],
    ]),
  ]
}

async function tryPlace({ folder, values }: Place): Promise<boolean> {
  const parent = dirname(folder)
  try {
    await mkdir(parent, { recursive: true })
    if (existsSync(join(parent, 'cgroup.subtree_control'))) {
      for (const group of [dirname(parent), parent]) {
        await writeFile(join(group, 'cgroup.subtree_control'), '+memory +pids +cpu')
      }
    }
    await mkdir(folder, { recursive: true })
    for (const [file, value] of values) await writeFile(join(folder, file), value)
    return true
  } catch {
    for (const made of [folder, parent]) await rmdir(made).catch(() => {})
    return false
  }
}

/** Whoever is still in there is the pod's, whatever became of its parent. */
export async function killCgroups(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const pids = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '')
    for (const pid of pids.split('\n').map(Number)) {
      try {
        if (pid > 1) process.kill(pid, 'SIGKILL')
      } catch {
        // It ended in between.
      }
    }
  }
}

/** A group can be removed once the kernel has let go of its last process, which takes a moment. */
export async function removeCgroups(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    for (let attempt = 1; existsSync(path); attempt += 1) {
      try {
        await rmdir(path)
      } catch (error) {
        if (attempt === REMOVE_ATTEMPTS) throw error
        await killCgroups([path])
        await sleep(REMOVE_PAUSE_MS)
      }
    }
  }
}
