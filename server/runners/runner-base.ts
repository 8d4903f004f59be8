// What all runners share: one name for one pod, start and close that wait for each other, and the sweep of
// what a dead server left. The sweep knows pods by their records, whichever runner made them.
import { chmod, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { removeCgroups } from './cgroup.ts'
import { type PodPaths, podPaths, removePodFolders } from './pod-files.ts'
import { killRecorded, readRecord } from './pod-record.ts'
import type { Pod, PodSpec, Runner } from './runner.ts'

const POD_ID = /^[a-z0-9-]{1,64}$/

export interface RunnerKind {
  name: string
  boundary: Runner['boundary']
  releaseData: Runner['releaseData']
  unusableReason(): Promise<string | null>
  /** Starts one pod in folders that nobody else uses; called only where the runner is usable. */
  startPod(spec: PodSpec, paths: PodPaths, signal: AbortSignal): Promise<Pod>
}

export interface RunnerFolders {
  /** Short, private, walkable by the pods' users: sockets and records. */
  runDir: string
  /** Disks for a moment, before they are unlinked. */
  dataDir: string
  log: Log
}

export function createRunner(kind: RunnerKind, { runDir, dataDir, log }: RunnerFolders): Runner {
  const live = new Map<string, Pod | undefined>()
  const starting = new Set<Promise<unknown>>()
  let closed = false

  async function startPod(spec: PodSpec, signal: AbortSignal): Promise<Pod> {
    if (closed) throw new AppError('runner_unusable', `the ${kind.name} runner is closed`)
    if (!POD_ID.test(spec.id)) throw new Error(`pod id ${JSON.stringify(spec.id)} is not usable`)
    const reason = await kind.unusableReason()
    if (reason !== null) throw new AppError('runner_unusable', reason)
    if (live.has(spec.id)) throw new Error(`pod ${spec.id} exists already`)
    live.set(spec.id, undefined)
    try {
      await makeRunDir(runDir)
      const pod = await kind.startPod(spec, podPaths(runDir, dataDir, spec.id), signal)
      live.set(spec.id, pod)
      return { ...pod, stop: () => pod.stop().finally(() => live.delete(spec.id)) }
    } catch (error) {
      live.delete(spec.id)
      throw error
    }
  }

  async function sweep(): Promise<string[]> {
    const swept: string[] = []
    // After a reboot the runtime folder is empty, and disks of that moment may still lie in the data folder.
    const found = new Set([...(await list(runDir)), ...(await list(join(dataDir, 'pods')))])
    for (const id of found) {
      if (live.has(id)) continue
      try {
        const paths = podPaths(runDir, dataDir, id)
        const record = await readRecord(paths.record)
        for (const owned of record?.processes ?? []) await killRecorded(owned)
        await removeCgroups(record?.cgroups ?? [])
        await removePodFolders(paths)
        swept.push(id)
      } catch (error) {
        log.error({ err: asError(error), podId: id }, 'could not remove a dead pod')
      }
    }
    if (swept.length > 0) log.warn({ podIds: swept }, 'removed pods of a dead server')
    return swept
  }

  return {
    name: kind.name,
    boundary: kind.boundary,
    releaseData: kind.releaseData,
    unusableReason: kind.unusableReason,
    async start(spec, signal) {
      const pod = startPod(spec, signal)
      starting.add(pod)
      return pod.finally(() => starting.delete(pod))
    },
    sweep,
    async close(): Promise<void> {
      closed = true
      await Promise.allSettled(starting)
      const results = await Promise.allSettled([...live.values()].map((pod) => pod?.stop()))
      for (const result of results) if (result.status === 'rejected') throw result.reason
    },
  }
}

export async function makeRunDir(runDir: string): Promise<void> {
  await mkdir(runDir, { recursive: true })
  await chmod(runDir, 0o711)
}

async function list(runDir: string): Promise<string[]> {
  const names = await readdir(runDir).catch(() => [])
  return names.filter((name) => POD_ID.test(name))
}
