// The seam between the pipeline and whatever isolates a build. A runner owns everything it starts:
// after stop() nothing of the pod remains (process, socket, file, cgroup), also when start() failed
// half way or the pod died by itself. What a runner needs privately stays inside it.
//
// Beside the interface of seed 003 (melange's container.Runner and Config):
//   Name, Close                      name, close
//   TestUsability                    unusableReason, which really tries, and says why not
//   OCIImageLoader                   disks/builder-disk.ts and builder-root.ts: one OCI image for all runners
//   StartPod, TerminatePod           start, Pod.stop; sweep for what a crash has left
//   Run with environment, RunAs      the conversation with the agent, over Pod.connect: one pod runs one build, whose
//                                    environment and users are its build arguments and its Dockerfile's
//   Mounts, Capabilities             no choice of a caller: source and config read-only, services by port
//   CPU, Memory, Disk                cpus, memoryMb, diskBytes
//   Timeout                          the signals; pipeline/watchdog.ts
//   TempDir                          the pod's own folders (pod-files.ts), gone with it
//   WorkspaceTar                     nothing is copied out: what a build makes leaves as an image, by the registry
//   GetReleaseData                   releaseData
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { BuildConfig, NetworkMode } from '../../agent/protocol.ts'

export interface PodSpec {
  /** Unique per attempt, `[a-z0-9-]+`: `<build id>-<attempt>`. */
  id: string
  memoryMb: number
  cpus: number
  diskBytes: number
  networkMode: NetworkMode
  /** Uncompressed tar of the source on the host; given to the guest read-only, never extracted here. */
  sourceFile: string
  /** Disk of a builder: a file on the host that the guest may write. Only machines take one. */
  cacheFile?: string | undefined
  /** Becomes /config/build.json; holds a token, so it must not outlive the pod on disk. */
  config: BuildConfig
  /** Ports the guest may dial on the host, each with its handler; no other port exists. */
  services: Map<number, (socket: Socket) => void>
}

export interface PodExit {
  /** Exit code of the sandbox process, or null when a signal ended it. */
  code: number | null
  signal: string | null
  /** True when stop() was called before it ended. */
  stopped: boolean
}

export interface Pod {
  readonly id: string
  /** How it runs, for the log: the acceleration of a VM (`kvm`, `tcg`), else the boundary. */
  readonly detail: string
  /** Dials the agent until it answers. Rejects when the pod ends first or the signal aborts. */
  connect(signal: AbortSignal): Promise<Duplex>
  /** Resolves once, when the sandbox is gone; never rejects. */
  readonly exited: Promise<PodExit>
  /** The tail of the serial console, or of what the sandbox printed; at most CONSOLE_RING_BYTES_MAX. */
  console(): string
  /** Ends the pod and removes everything it owned; idempotent. Resolves when it is gone. */
  stop(): Promise<void>
}

/** What keeps a build in: a machine of its own, or namespaces of the host's kernel, which is weaker. */
export type Boundary = 'machine' | 'shared kernel'

/** What a pod is called when people read of it. */
export function podNoun(boundary: Boundary): 'VM' | 'sandbox' {
  return boundary === 'machine' ? 'VM' : 'sandbox'
}

export interface Runner {
  readonly name: string
  readonly boundary: Boundary
  /** os-release of the system that builds run in. */
  releaseData(): Promise<Record<string, string>>
  /** null when usable, else one sentence: what was tried, what it said, how to fix it. */
  unusableReason(): Promise<string | null>
  /** Resolves when the sandbox process runs; rejects, leaving nothing behind, when it can't. */
  start(spec: PodSpec, signal: AbortSignal): Promise<Pod>
  /** Ends what a dead server left; returns the ids of the pods it removed. Called at start. */
  sweep(): Promise<string[]>
  close(): Promise<void>
}
