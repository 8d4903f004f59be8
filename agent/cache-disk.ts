// The disk of a builder: BuildKit's state of earlier builds, mounted where BuildKit keeps it. Whatever is wrong
// with it costs the build its cache, never its success: then the state lives on the guest's own disk, as it does
// without a builder.
import { spawnSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { basename } from 'node:path'
import { type Buildkitd, type BuildkitdOptions, startBuildkitd } from './buildkitd.ts'
import { BASE_ENV } from './children.ts'
import { note } from './clock.ts'
import { BUILDKITD_SAVE_GRACE_MS, PRUNE_DEADLINE_MS } from './limits.ts'
import { CACHE_DISK_CLEAN_NOTE, type CacheDiskConfig } from './protocol.ts'

/** Where server/runners/qemu-pod.ts puts it, and where BuildKit looks. */
const PLACES = { device: '/dev/vde', state: '/var/lib/buildkit' }
/** Errors end in a read-only disk, so that nothing is built on top of them. */
const MOUNT_OPTIONS = 'noatime,discard,noinit_itable,errors=remount-ro'
const MB = 1_000_000

export interface CacheDisk {
  /** Why it is not used, when it is not. */
  readonly trouble: string | undefined
  /** Errors of its file system. */
  isDamaged(): boolean
  /** Takes it away from under BuildKit, which is not running. */
  abandon(trouble: string): void
  /** Ends the daemon and the disk in good order, and says on the console whether that went well. */
  save(daemon: Buildkitd): Promise<void>
}

export function openCacheDisk(
  { max_used_mb: maxUsedMb, keep_hours: keepHours }: CacheDiskConfig,
  { device, state } = PLACES,
): CacheDisk {
  const mounted = busybox(['mount', '-t', 'ext4', '-o', MOUNT_OPTIONS, device, state])
  let trouble = mounted.ok ? undefined : `it cannot be mounted (${mounted.said})`

  function isDamaged(): boolean {
    if (trouble !== undefined) return false
    try {
      return readFileSync(`/sys/fs/ext4/${basename(device)}/errors_count`, 'utf8').trim() !== '0'
    } catch {
      return false
    }
  }

  return {
    get trouble() {
      return trouble
    },
    isDamaged,
    abandon(why) {
      trouble = why
      const gone = busybox(['umount', state])
      if (!gone.ok) busybox(['umount', '-l', state])
    },
    async save(daemon) {
      if (trouble !== undefined) return
      prune(daemon.socket, { state, maxUsedMb, keepHours })
      if (!(await daemon.stop(BUILDKITD_SAVE_GRACE_MS)))
        return note('the builder is not saved: buildkitd had to be killed')
      if (isDamaged()) return note('the builder is not saved: its file system has errors')
      const gone = busybox(['umount', state])
      note(gone.ok ? CACHE_DISK_CLEAN_NOTE : `the builder is not saved: umount: ${gone.said}`)
    },
  }
}

/** The daemon on the disk; when it does not come up there, on the guest's own disk. */
export function startBuildkitdOn(
  disk: CacheDisk | undefined,
  options: BuildkitdOptions,
): Buildkitd {
  let daemon = startBuildkitd(options)
  return {
    socket: daemon.socket,
    async ready() {
      try {
        await daemon.ready()
      } catch (error) {
        if (!disk || disk.trouble !== undefined) throw error
        await daemon.stop()
        disk.abandon(`BuildKit does not start on it (${(error as Error).message})`)
        daemon = startBuildkitd(options)
        await daemon.ready()
      }
    },
    isAlive: () => daemon.isAlive(),
    tail: () => daemon.tail(),
    stop: (graceMs) => daemon.stop(graceMs),
  }
}

/** The daemon's own collector waits a minute before it begins; a build is over by then. */
function prune(
  socket: string,
  { state, maxUsedMb, keepHours }: { state: string; maxUsedMb: number; keepHours: number },
): void {
  const used = usedMb(state)
  if (used <= maxUsedMb / 2) return
  buildctl(socket, ['prune', '--all', `--keep-duration=${keepHours}h`])
  if (used > maxUsedMb) buildctl(socket, ['prune', '--all', `--keep-storage=${maxUsedMb}`])
  note(`builder: ${used} MB used, ${usedMb(state)} MB after pruning`)
}

function usedMb(state: string): number {
  const { blocks, bfree, bsize } = statfsSync(state)
  return Math.round(((blocks - bfree) * bsize) / MB)
}

function buildctl(socket: string, args: readonly string[]): void {
  const done = spawnSync('buildctl', ['--addr', `unix://${socket}`, ...args], {
    env: { ...BASE_ENV },
    stdio: 'ignore',
    timeout: PRUNE_DEADLINE_MS,
  })
  if (done.status !== 0) note(`buildctl ${args[0]} ended with ${done.status ?? done.signal}`)
}

function busybox(args: readonly string[]): { ok: boolean; said: string } {
  const done = spawnSync('busybox', args, { encoding: 'utf8', env: { ...BASE_ENV } })
  const said = (done.stderr ?? String(done.error)).trim().slice(0, 200)
  return { ok: done.status === 0, said: said.replaceAll('\n', ' ') }
}
