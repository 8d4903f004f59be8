// The command line of a sandbox: a chain of programs, each of which takes something away and becomes the
// next. Pure: the same input gives the same arguments. The places inside are those of agent/environment.ts.
import { createHash } from 'node:crypto'
import type { UserIds } from '../setup/users.ts'
import type { Command } from './unprivileged.ts'

/** Open files of the first program; all but the source are closed before the build's programs start. */
export const CONTROL_FD = 3
export const INHERITED_FDS = { source: 4, config: 5, seccomp: 6 } as const

/** Ids that each pod has to itself; nothing else on the machine runs as any of them. */
export const POD_IDS = 65_536
/** Between what systemd gives to containers and SSSD to directory users, and the end of what the kernel takes. */
const FIRST_POD_ID = 0x77a0_0000
const POD_RANGES = 2_048

/**
 * Which ids of this machine a pod's are: root in it is the first. Two pods may by chance have the same range;
 * then each may send signals to nothing of the other (own PID namespace) and they share kernel quotas.
 */
export function podIds(podId: string): UserIds {
  const hash = createHash('sha256').update(podId).digest().readUInt32LE(0)
  const first = FIRST_POD_ID + (hash % POD_RANGES) * POD_IDS
  return { uid: first, gid: first }
}

export interface BubblewrapTools {
  bwrap: string
  /** All of util-linux: always there, the server itself is started with setpriv. */
  setpriv: string
  unshare: string
  prlimit: string
}

export interface Sandbox {
  tools: BubblewrapTools
  ids: UserIds
  /** ext4 image for the state, and its mount point. */
  image: string
  state: string
  /** Unpacked builder image, and where the sandbox sees it. */
  rootfs: string
  root: string
  /** The sockets of the host's services. */
  sockets: string
  /** A file of the pod's control group that counts what was killed for memory. */
  oomCounter: string | undefined
  /** Of /tmp, which is memory. */
  tmpBytes: number
  tasks: number
  /** Where the server may not allow so many, as many as it may. */
  openFiles: number
  command: readonly string[]
}

/**
 * As root, where only the sandbox sees it: the mounts of the pod. They go when its last process goes. The disk
 * dies with the pod, so a flush in there (BuildKit makes many) need not reach the host's disk.
 */
const MOUNT_SCRIPT = `set -e
image=$1 state=$2 rootfs=$3 root=$4 owner=$5 files=$6
shift 6
mount -t ext4 -o loop,nosuid,nodev,noatime,noinit_itable,nobarrier "$image" "$state"
rm -f "$image"
mkdir -m 700 "$state/buildkit" "$state/src"
chown "$owner" "$state/buildkit" "$state/src"
mount --bind "$rootfs" "$root"
ulimit -n "$files" 2>/dev/null || ulimit -n "$(ulimit -H -n)"
exec "$@"`

/** In the new user namespace: waits until the server has said whom its ids stand for. */
const WAIT_SCRIPT = `echo ready >&${CONTROL_FD}
read -r go <&${CONTROL_FD} || exit 1
exec "$@"`

/**
 * Making a user namespace takes no capability, but AppArmor on Ubuntu lets it be used only when who made it had
 * this one. It is gone with the step into the namespace, as is every right outside of it.
 */
const TO_UNSHARE = '-all,+sys_admin'

export function sandboxCommand(sandbox: Sandbox): Command {
  const { tools, ids, image, state, rootfs, root, tasks, openFiles } = sandbox
  const owner = `${ids.uid}:${ids.gid}`
  const mounts = [image, state, rootfs, root, owner, String(openFiles)]
  return {
    file: tools.setpriv,
    args: [
      ...['--pdeathsig=KILL', '--'],
      ...[tools.unshare, '--mount', '--propagation', 'private', '--'],
      ...['/bin/sh', '-c', MOUNT_SCRIPT, 'mounts', ...mounts],
      ...[tools.prlimit, `--nproc=${tasks}`],
      ...[tools.setpriv, `--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups'],
      ...['bounding-set', 'inh-caps', 'ambient-caps'].map((set) => `--${set}=${TO_UNSHARE}`),
      ...['--no-new-privs', '--pdeathsig=KILL', '--'],
      ...[tools.unshare, '--user', '--keep-caps', '--'],
      ...['/bin/sh', '-c', WAIT_SCRIPT, 'wait'],
      ...[tools.bwrap, ...bwrapArgs(sandbox), '--', ...sandbox.command],
    ],
  }
}

const MiB = 1024 * 1024

/** bwrap is root of the user namespace already, so it makes none; its capabilities reach no further. */
function bwrapArgs({ root, state, sockets, oomCounter, tmpBytes }: Sandbox): string[] {
  const memory = (path: string, bytes: number) => ['--size', String(bytes), '--tmpfs', path]
  return [
    ...['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup'],
    ...['--hostname', 'builder', '--die-with-parent', '--new-session', '--cap-add', 'ALL'],
    ...['--seccomp', String(INHERITED_FDS.seccomp), '--info-fd', String(CONTROL_FD)],
    ...['--clearenv', '--setenv', 'HYPEMAN_SANDBOX', 'shared-kernel'],
    ...['--ro-bind', root, '/', '--proc', '/proc', '--dev', '/dev'],
    ...[...memory('/sys', MiB), '--dir', '/sys/fs/cgroup'],
    ...['--perms', '1777', ...memory('/tmp', tmpBytes)],
    ...[...memory('/run', 64 * MiB), ...memory('/root', 64 * MiB)],
    ...['--perms', '0700', ...memory('/config', 16 * MiB)],
    ...['--bind', `${state}/buildkit`, '/var/lib/buildkit', '--bind', `${state}/src`, '/src'],
    ...['--ro-bind', sockets, '/run/pod/host'],
    ...['--perms', '0400', '--file', String(INHERITED_FDS.config), '/run/pod/config.json'],
    ...(oomCounter ? ['--ro-bind', oomCounter, '/run/pod/oom'] : []),
    ...['--chdir', '/'],
  ]
}
