// One pod: a QEMU process and its vsock device, with everything they own. Whatever happens, release() ends
// both and removes the rest; a start that fails half way calls it too.
import { access } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { AGENT_PORT, LISTENING_NOTE } from '../../agent/protocol.ts'
import { joinSignals } from '../join-signals.ts'
import {
  CONSOLE_RING_BYTES_MAX,
  POD_OVERHEAD_MB,
  POD_TASKS_MAX,
  VSOCK_DEVICE_DEADLINE_MS,
  VSOCK_POLL_MS,
} from '../limits.ts'
import type { Parts } from '../setup/parts-types.ts'
import type { UserIds } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import type { Cgroup } from './cgroup.ts'
import { type Child, startChild } from './child.ts'
import { type ConsoleRing, createConsoleRing } from './console-ring.ts'
import {
  closePodDisks,
  makePodFolders,
  openPodDisks,
  type PodPaths,
  servicePath,
} from './pod-files.ts'
import { describeProcess, type PodRecord, recordedCgroup, writeRecord } from './pod-record.ts'
import { type Accel, qemuArgs, vsockDeviceArgs } from './qemu-args.ts'
import { endChild, releasePod } from './release.ts'
import type { Pod, PodExit, PodSpec } from './runner.ts'
import { listenForGuest, type Services } from './services.ts'
import { type Command, unprivileged } from './unprivileged.ts'
import { dialGuest } from './vsock.ts'

const DEVICE_POLL_MS = 5
const MiB = 1024 * 1024
/** Descriptors 0 to 2 are stdio. */
const FIRST_INHERITED_FD = 3

export interface QemuPodOptions {
  parts: Pick<Parts, 'qemu' | 'vhostDeviceVsock' | 'kernel' | 'initramfs' | 'mkfsExt4' | 'setpriv'>
  user: UserIds | null
  accel: Accel
  builderDisk: string
  paths: PodPaths
  log: Log
}

interface Owned {
  ring: ConsoleRing
  /** The agent has said on the console that it may be dialled. */
  listening: Promise<void>
  record: PodRecord
  services?: Services
  cgroup?: Cgroup
  device?: Child
  qemu?: Child
}

export async function startQemuPod(
  spec: PodSpec,
  options: QemuPodOptions,
  signal: AbortSignal,
): Promise<Pod> {
  const { paths, user } = options
  signal.throwIfAborted()
  await makePodFolders(paths, user)
  const ring = createConsoleRing(CONSOLE_RING_BYTES_MAX)
  const owned: Owned = {
    ring,
    listening: ring.printed(LISTENING_NOTE),
    record: { id: spec.id, processes: [], cgroups: [] },
  }
  try {
    await startParts(spec, options, owned, signal)
    return asPod(spec, options, owned)
  } catch (error) {
    await release(paths, owned)
    throw error
  }
}

async function startParts(
  spec: PodSpec,
  options: QemuPodOptions,
  owned: Owned,
  signal: AbortSignal,
): Promise<void> {
  const { paths, user, log } = options
  owned.cgroup = await recordedCgroup(owned.record, paths.record, {
    memoryBytes: (spec.memoryMb + POD_OVERHEAD_MB) * MiB,
    tasks: POD_TASKS_MAX,
    cpus: spec.cpus + 1,
  })
  if (owned.cgroup.paths.length === 0) log.debug({ podId: spec.id }, 'pod without cgroup limits')
  owned.services = await listenForGuest(spec.services, (port) => servicePath(paths, port), user)
  await startDevice(options, owned)
  signal.throwIfAborted()
  await startQemu(spec, options, owned)
  signal.throwIfAborted()
}

async function startDevice(options: QemuPodOptions, owned: Owned): Promise<void> {
  const { parts, paths } = options
  const command = { file: parts.vhostDeviceVsock, args: vsockDeviceArgs(paths) }
  owned.device = await start('vhost-device-vsock', command, options, owned)
  let ended = false
  void owned.device.exited.then(() => {
    ended = true
  })
  const deadline = performance.now() + VSOCK_DEVICE_DEADLINE_MS
  while (!(await exists(paths.vhostSocket))) {
    if (ended) throw new Error(`vhost-device-vsock ended at its start: ${owned.ring.text()}`)
    if (performance.now() > deadline) throw new Error('vhost-device-vsock made no socket')
    await sleep(DEVICE_POLL_MS)
  }
}

async function startQemu(spec: PodSpec, options: QemuPodOptions, owned: Owned): Promise<void> {
  const { parts, paths, accel, builderDisk } = options
  const { mkfsExt4 } = parts
  const disks = await openPodDisks(spec, { paths, builderDisk, mkfsExt4 })
  try {
    const { builder, scratch, source, config, cache } = disks
    const order = [builder, scratch, source, config, ...(cache ? [cache] : [])]
    const args = qemuArgs({
      accel,
      cpus: spec.cpus,
      memoryMb: spec.memoryMb,
      kernel: parts.kernel,
      initramfs: parts.initramfs,
      vhostSocket: paths.vhostSocket,
      disks: order.map((disk, index) => ({
        fd: FIRST_INHERITED_FD + index,
        writable: disk === scratch || disk === cache,
      })),
    })
    const inherit = order.map((disk) => disk.fd)
    owned.qemu = await start('qemu', { file: parts.qemu, args }, options, owned, inherit)
  } finally {
    await closePodDisks(disks)
  }
}

async function start(
  name: string,
  command: Command,
  { parts, user, paths }: QemuPodOptions,
  owned: Owned,
  inherit: readonly number[] = [],
): Promise<Child> {
  const child = await startChild(unprivileged({ setpriv: parts.setpriv, user }, command), {
    ring: owned.ring,
    inherit,
  })
  try {
    await owned.cgroup?.add(child.pid)
    const described = await describeProcess(name, child.pid)
    if (described) owned.record.processes.push(described)
    await writeRecord(paths.record, owned.record)
    return child
  } catch (error) {
    child.kill()
    await child.exited
    throw error
  }
}

function asPod(spec: PodSpec, options: QemuPodOptions, owned: Owned): Pod {
  const { paths, accel, log } = options
  const qemu = owned.qemu!
  const over = new AbortController()
  let stopping: Promise<void> | undefined
  const exited = qemu.exited.then((exit): PodExit => {
    const how = exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`
    over.abort(new Error(`the VM ended before its agent answered (${how})`))
    return { ...exit, stopped: stopping !== undefined }
  })
  // A guest without its vsock device is deaf and would only burn time.
  void owned.device!.exited.then(() => {
    if (!over.signal.aborted && !stopping) {
      log.warn({ podId: spec.id }, 'vsock device of a pod ended; its VM is stopped')
    }
    qemu.kill()
  })
  return {
    id: spec.id,
    detail: accel,
    exited,
    console: owned.ring.text,
    async connect(signal) {
      const joined = joinSignals([signal, over.signal])
      try {
        await untilListening(owned.listening, joined.signal)
        return await connect(paths.guestSocket, joined.signal)
      } finally {
        joined.dispose()
      }
    },
    stop(): Promise<void> {
      stopping ??= release(paths, owned)
      return stopping
    },
  }
}

// A dial before the guest has set its queues up ends the only thread of vhost-device-vsock 0.3 that serves
// them: the guest would be deaf for ever.
async function untilListening(listening: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    void listening.then(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
  })
}

async function connect(guestSocket: string, signal: AbortSignal) {
  while (true) {
    signal.throwIfAborted()
    try {
      return await dialGuest(guestSocket, AGENT_PORT, signal)
    } catch {
      // Not up yet; the signal ends this.
    }
    await sleep(VSOCK_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

function release(paths: PodPaths, owned: Owned): Promise<void> {
  return releasePod({ id: owned.record.id, paths }, [
    () => Promise.all([endChild(owned.qemu), endChild(owned.device)]),
    () => owned.services?.close(),
    () => owned.cgroup?.remove(),
  ])
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
