// A build and the disk of its builder: taken before the guest starts, put in order by the guest when its result
// is recorded. Nobody waits for that: the build is ready by then, and its slot is free.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BuildResult,
  CACHE_DISK_CLEAN_NOTE,
  type CacheDiskConfig,
} from '../../agent/protocol.ts'
import type { BuilderDisk, BuilderDisks } from '../builders/disks.ts'
import {
  BUILD_ATTEMPTS_MAX,
  BUILDER_KEEP_HOURS,
  BUILDER_SAVE_DEADLINE_MS,
  BUILDER_USED_SHARE_MAX,
} from '../limits.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { Pod, Runner } from '../runners/runner.ts'
import type { Log } from '../telemetry/log.ts'
import type { BuildFailure } from './failure.ts'

const MB = 1_000_000

type Say = (line: string) => Promise<void>

/** A guest that outlives its build's result, and the disk it puts in order. */
export interface Saving {
  pod: Pod
  disk: BuilderDisk
}

interface TakeOptions {
  builderDisks: Pick<BuilderDisks, 'take'>
  runner: Pick<Runner, 'boundary'>
  say: Say
}

/** A second attempt does without: whatever the first one died of, it was not the builder's disk again. */
export async function takeDisk(
  build: ClaimedBuild,
  { builderDisks, runner, say }: TakeOptions,
): Promise<BuilderDisk | undefined> {
  if (build.builderKey === undefined || build.attempt > 1) return undefined
  if (runner.boundary !== 'machine') {
    await say('The builder is not used: its disk needs a VM, and builds run in sandboxes here')
    return undefined
  }
  // BuildKit keeps what steps print among its state, and a step may print a secret.
  const hasSecrets = (build.request.secrets ?? []).length > 0
  const builderPromotes = build.builderPromotes && !hasSecrets
  const disk = await builderDisks.take({ ...build, builderPromotes })
  const state = disk?.isWarm ? 'has the state of earlier builds' : 'is empty'
  const stays = disk && hasSecrets ? '; this build has secrets and will not change it' : ''
  await say(`Builder ${build.request.builder_id} ${disk ? state : 'has no disk now'}${stays}`)
  return disk
}

/** What the agent is told about the disk. */
export function cacheDiskOf(disk: BuilderDisk | undefined): { cache_disk?: CacheDiskConfig } {
  if (!disk) return {}
  return {
    cache_disk: {
      max_used_mb: Math.floor((disk.bytes * BUILDER_USED_SHARE_MAX) / MB),
      keep_hours: BUILDER_KEEP_HOURS,
      save: disk.promotes,
    },
  }
}

/** Of a good build: whether its guest stays to put the disk in order. */
export async function beginSaving(
  disk: BuilderDisk | undefined,
  pod: Pod,
  { result, say }: { result: BuildResult; say: Say },
): Promise<Saving | undefined> {
  if (!disk) return undefined
  const { cache_trouble: trouble } = result
  if (trouble === undefined) {
    return disk.promotes && (await disk.beginSave()) ? { pod, disk } : undefined
  }
  await say(`The disk of the builder was not used, and starts anew: ${trouble}`)
  await disk.dropBase()
  return undefined
}

/** Whether a failure may come from the builder's disk, bad or full, and the build deserves a try without. */
export async function mayBlameDisk(
  disk: BuilderDisk | undefined,
  { attempt }: ClaimedBuild,
  { failureClass }: BuildFailure,
): Promise<boolean> {
  if (!disk || attempt >= BUILD_ATTEMPTS_MAX) return false
  if (failureClass !== 'infra' && failureClass !== 'disk') return false
  await disk.dropBase()
  return true
}

/** Whether the builder has a new state. The signal gives it up. */
export async function saveBuilder(
  saving: Saving | undefined,
  { log, signal }: { log: Log; signal: AbortSignal },
): Promise<boolean> {
  if (!saving) return false
  const { pod, disk } = saving
  const { builderId } = disk
  const late = sleep(BUILDER_SAVE_DEADLINE_MS, undefined, { signal, ref: false }).catch(() => {})
  const exit = await Promise.race([pod.exited, late])
  const console = pod.console()
  await pod.stop()
  const isClean = exit?.code === 0 && console.includes(CACHE_DISK_CLEAN_NOTE)
  const promoted = isClean && !signal.aborted && (await disk.promote())
  if (promoted) log.info({ builderId }, 'builder saved')
  else log.warn({ builderId, exit, isClean, tail: console.slice(-500) }, 'builder not saved')
  return promoted
}
