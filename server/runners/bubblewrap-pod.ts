// One pod on the host's kernel: a bwrap process with everything it owns. Whatever happens, release() ends it
// and removes the rest; a start that fails half way calls it too.
import { existsSync } from 'node:fs'
import { type FileHandle, mkdir, open, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { AGENT_PORT } from '../../agent/protocol.ts'
import { makeConfigDisk } from '../disks/config-disk.ts'
import { makeScratchDisk } from '../disks/scratch-disk.ts'
import { joinSignals } from '../join-signals.ts'
import { CONSOLE_RING_BYTES_MAX, SANDBOX_OPEN_FILES_MAX, SANDBOX_TASKS_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { createAgentDoor } from './agent-door.ts'
import { type BubblewrapTools, podIds } from './bubblewrap-args.ts'
import { launchSandbox } from './bubblewrap-launch.ts'
import { type Cgroup, killCgroups } from './cgroup.ts'
import type { Child } from './child.ts'
import { type ConsoleRing, createConsoleRing } from './console-ring.ts'
import { makePodFolders, type PodPaths } from './pod-files.ts'
import {
  describeProcess,
  killRecorded,
  type PodRecord,
  recordedCgroup,
  writeRecord,
} from './pod-record.ts'
import { endChild, releasePod } from './release.ts'
import type { Pod, PodExit, PodSpec } from './runner.ts'
import { seccompProgram } from './seccomp.ts'
import { listenForGuest, type Services } from './services.ts'

const MiB = 1024 * 1024
const START = '/usr/lib/hypeman/sandbox-start'

export interface BubblewrapHost {
  tools: BubblewrapTools & { mkfsExt4: string }
  /** The unpacked builder image. */
  rootfs: string
  paths: PodPaths
  log: Log
  /** First program in the sandbox; the builder image's own unless given. */
  command?: readonly string[]
}

interface Owned {
  ring: ConsoleRing
  record: PodRecord
  services?: Services
  cgroup?: Cgroup
  child?: Child
}

export async function startBubblewrapPod(
  spec: PodSpec,
  host: BubblewrapHost,
  signal: AbortSignal,
): Promise<Pod> {
  const { paths } = host
  signal.throwIfAborted()
  await makePodFolders(paths, podIds(spec.id))
  const owned: Owned = {
    ring: createConsoleRing(CONSOLE_RING_BYTES_MAX),
    record: { id: spec.id, processes: [], cgroups: [] },
  }
  const door = createAgentDoor()
  try {
    await limit(spec, host, owned)
    const services = new Map([...spec.services, [AGENT_PORT, door.service] as const])
    owned.services = await listenForGuest(
      services,
      (port) => join(paths.sockets, String(port)),
      podIds(spec.id),
    )
    signal.throwIfAborted()
    await startSandbox(spec, host, owned)
    signal.throwIfAborted()
    return asPod(spec, host, owned, door.next)
  } catch (error) {
    await release(paths, owned)
    throw error
  }
}

async function limit(spec: PodSpec, { log, paths }: BubblewrapHost, owned: Owned): Promise<void> {
  owned.cgroup = await recordedCgroup(owned.record, paths.record, {
    memoryBytes: spec.memoryMb * MiB,
    tasks: SANDBOX_TASKS_MAX,
    cpus: spec.cpus,
  })
  if (owned.cgroup.paths.length > 0) return
  log.warn({ podId: spec.id }, 'sandbox without limits of memory and processor time')
}

async function startSandbox(spec: PodSpec, host: BubblewrapHost, owned: Owned): Promise<void> {
  const { tools, rootfs, paths, command = [START] } = host
  const image = join(paths.disks, 'state.img')
  await makeScratchDisk(image, { bytes: spec.diskBytes, mkfsExt4: tools.mkfsExt4 })
  for (const folder of [paths.root, paths.state]) await mkdir(folder, { mode: 0o711 })
  const files = await openFiles(spec, paths)
  try {
    await launchSandbox({
      ring: owned.ring,
      files: { source: files.source.fd, config: files.config.fd, seccomp: files.seccomp.fd },
      sandbox: {
        tools,
        ids: podIds(spec.id),
        image,
        rootfs,
        ...paths,
        oomCounter: oomCounter(owned.cgroup),
        tmpBytes: Math.ceil((spec.memoryMb * MiB) / 2),
        tasks: SANDBOX_TASKS_MAX,
        openFiles: SANDBOX_OPEN_FILES_MAX,
        command,
      },
      async onStarted(child) {
        owned.child = child
        await owned.cgroup?.add(child.pid)
        await record('bwrap', child.pid, paths, owned)
      },
      onInside: (pid) => record('sandbox', pid, paths, owned),
      onFailed: () => killInside(owned),
    })
    await rm(paths.disks, { recursive: true })
  } finally {
    await Promise.all(Object.values(files).map((file: FileHandle) => file.close()))
  }
}

async function record(name: string, pid: number, paths: PodPaths, owned: Owned): Promise<void> {
  const described = await describeProcess(name, pid)
  if (described) owned.record.processes.push(described)
  await writeRecord(paths.record, owned.record)
}

/** What the sandbox gets as open files; two of them have no name any more. On failure nothing stays open. */
async function openFiles(spec: PodSpec, { disks }: PodPaths) {
  const opened: FileHandle[] = []
  const track = async (file: string) => {
    const handle = await open(file, 'r')
    opened.push(handle)
    return handle
  }
  const nameless = async (file: string) => {
    const handle = await track(file)
    await rm(file)
    return handle
  }
  try {
    await makeConfigDisk(join(disks, 'config.json'), spec.config)
    const config = await nameless(join(disks, 'config.json'))
    await writeFile(join(disks, 'seccomp'), seccompProgram(), { mode: 0o600 })
    const seccomp = await nameless(join(disks, 'seccomp'))
    const source = await track(spec.sourceFile)
    return { config, seccomp, source }
  } catch (error) {
    await Promise.all(opened.map((handle) => handle.close()))
    throw error
  }
}

function oomCounter(cgroup: Cgroup | undefined): string | undefined {
  const names = ['memory.events', 'memory.oom_control']
  return cgroup?.paths.flatMap((path) => names.map((name) => join(path, name))).find(existsSync)
}

function asPod(
  spec: PodSpec,
  { paths }: BubblewrapHost,
  owned: Owned,
  next: (signal: AbortSignal) => Promise<Socket>,
): Pod {
  const over = new AbortController()
  let stopping: Promise<void> | undefined
  const exited = owned.child!.exited.then((exit): PodExit => {
    const how = exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`
    over.abort(new Error(`the sandbox ended before its agent answered (${how})`))
    return { ...exit, stopped: stopping !== undefined }
  })
  // bwrap asks the kernel to end its child with it, but not in the first moment of that child.
  void owned.child!.ended.then(() => killInside(owned)).catch(() => {})
  return {
    id: spec.id,
    detail: 'shared kernel, a weaker boundary than a VM',
    exited,
    console: owned.ring.text,
    async connect(signal) {
      const joined = joinSignals([signal, over.signal])
      try {
        return await next(joined.signal)
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

async function killInside({ cgroup, record }: Owned): Promise<void> {
  await killCgroups(cgroup?.paths ?? [])
  await Promise.all(record.processes.map(killRecorded))
}

function release(paths: PodPaths, owned: Owned): Promise<void> {
  return releasePod({ id: owned.record.id, paths }, [
    // The kernel ends the others with the first process inside, which takes a moment when they are many.
    () => Promise.all([endChild(owned.child), killInside(owned)]),
    () => owned.services?.close(),
    () => owned.cgroup?.remove(),
  ])
}
