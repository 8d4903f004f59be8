// The QEMU runner: a fresh microVM per build. Usable when the probe has really booted a guest here; a look at
// /dev/kvm proves nothing (DESIGN §5).
import { chmod, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, asError } from '../errors.ts'
import type { Parts } from '../setup/parts-types.ts'
import type { Users } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import { removeCgroups } from './cgroup.ts'
import { podPaths, removePodFolders } from './pod-files.ts'
import { killRecorded, readRecord } from './pod-record.ts'
import type { Accel } from './qemu-args.ts'
import { startQemuPod } from './qemu-pod.ts'
import type { Pod, PodSpec, Runner } from './runner.ts'

const POD_ID = /^[a-z0-9-]{1,64}$/

export interface QemuProbe {
  /** null when no guest boots on this machine. */
  accel: Accel | null
  /** One sentence per attempt that failed. */
  reasons: readonly string[]
}

export interface QemuRunnerOptions {
  parts: Parts
  users: Users
  /** Short, private, walkable by the VM's user: sockets and records. */
  runDir: string
  /** Disks for a moment, before they are unlinked. */
  dataDir: string
  builderDisk: string
  log: Log
  probe(): Promise<QemuProbe>
}

export function createQemuRunner(options: QemuRunnerOptions): Runner {
  const { parts, users, runDir, dataDir, builderDisk, log } = options
  const live = new Map<string, Pod | undefined>()
  const starting = new Set<Promise<unknown>>()
  let probed: Promise<QemuProbe> | undefined
  let closed = false
  const probe = () => {
    probed ??= options.probe()
    return probed
  }

  async function unusableReason(): Promise<string | null> {
    const { accel, reasons } = await probe()
    if (accel) return null
    return `no guest boots under QEMU here: ${reasons.join('; ')}. \`npm run doctor\` shows details.`
  }

  async function startPod(spec: PodSpec, signal: AbortSignal): Promise<Pod> {
    if (closed) throw new AppError('runner_unusable', 'the QEMU runner is closed')
    if (!POD_ID.test(spec.id)) throw new Error(`pod id ${JSON.stringify(spec.id)} is not usable`)
    const { accel } = await probe()
    if (!accel) throw new AppError('runner_unusable', (await unusableReason()) ?? '')
    if (live.has(spec.id)) throw new Error(`pod ${spec.id} exists already`)
    live.set(spec.id, undefined)
    try {
      await makeRunDir(runDir)
      const paths = podPaths(runDir, dataDir, spec.id)
      const host = { parts, user: users.vm, accel, builderDisk, paths, log }
      const pod = await startQemuPod(spec, host, signal)
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
    if (swept.length > 0) log.info({ podIds: swept }, 'removed pods of a dead server')
    return swept
  }

  return {
    name: 'qemu',
    unusableReason,
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

async function makeRunDir(runDir: string): Promise<void> {
  await mkdir(runDir, { recursive: true })
  await chmod(runDir, 0o711)
}

async function list(runDir: string): Promise<string[]> {
  const names = await readdir(runDir).catch(() => [])
  return names.filter((name) => POD_ID.test(name))
}
