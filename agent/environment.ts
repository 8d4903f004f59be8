// What the sandbox around the agent is like, and where in it the agent finds what the host gives it. A
// microVM is the default; a sandbox on the host's own kernel says so by an environment variable.
import type { SourceInput } from './source.ts'

export interface Environment {
  source: SourceInput
  /** Raw device or file with the configuration. */
  config: string
  /** A machine of its own: its clock starts with the build, and BuildKit may do there what root may. */
  ownKernel: boolean
  /** Counts the processes killed for memory, in a line `oom_kill <n>`. */
  oomCounter: string
  /** Where socat reaches a service of the host. */
  hostAddress(port: number): string
  /** The same as a unix socket, where it is one. */
  hostSocket(port: number): string | undefined
}

const HOST_CID = 2

const MICRO_VM: Environment = {
  source: { device: '/dev/vdc' },
  config: '/dev/vdd',
  ownKernel: true,
  // The whole machine, whichever limit was hit: nothing else in it can be killed for memory.
  oomCounter: '/proc/vmstat',
  hostAddress: (port) => `VSOCK-CONNECT:${HOST_CID}:${port}`,
  hostSocket: () => undefined,
}

/** The places are made by server/runners/bubblewrap-args.ts. */
const SHARED_KERNEL: Environment = {
  // Open already: the file belongs to another user and can't be opened by name.
  source: { fd: 4 },
  config: '/run/pod/config.json',
  ownKernel: false,
  oomCounter: '/run/pod/oom',
  hostAddress: (port) => `UNIX-CONNECT:/run/pod/host/${port}`,
  hostSocket: (port) => `/run/pod/host/${port}`,
}

export const environment = environmentOf(process.env.HYPEMAN_SANDBOX)

export function environmentOf(sandbox: string | undefined): Environment {
  return sandbox === 'shared-kernel' ? SHARED_KERNEL : MICRO_VM
}
