// The disks of builders on this worker: `<root>/<key>/<generation>.img`. A generation is never written again: a
// build gets a clone of it under a name of its own, which becomes the next generation or goes. The host copies
// these files and never looks into them: a guest has written them.
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Db } from '../db/pool.ts'
import { makeLastingDisk } from '../disks/scratch-disk.ts'
import { asError } from '../errors.ts'
import { fsync } from '../fsync.ts'
import {
  BUILDER_CLONE_DEADLINE_MS,
  BUILDER_DISKS_GB_DEFAULT,
  DISK_FREE_BYTES_MIN,
} from '../limits.ts'
import { requireDiskRoom } from '../objects/disk-room.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { Log } from '../telemetry/log.ts'
import { type BuilderLease, createBuilderLease, type HeldBuilder } from './lease.ts'
import { createBuilderRoom, diskBytes } from './room.ts'

const GiB = 1024 ** 3

export interface BuilderDisksOptions {
  db: Db
  log: Log
  root: string
  worker: string
  /** Of the builder image. */
  stamp: string
  mkfsExt4: string
  /** What all of them may take together. */
  maxBytes?: number
}

export interface BuilderDisk {
  builderId: string
  file: string
  bytes: number
  /** Whether it holds the state of an earlier build. */
  isWarm: boolean
  promotes: boolean
  /** The builder stays this build's until the disk is saved, when it is to be. */
  beginSave(): Promise<boolean>
  /** Makes it the builder's next state; the guest is gone and has left it in good order. */
  promote(): Promise<boolean>
  /** What it was cloned from is bad: the next build begins with an empty disk. */
  dropBase(): Promise<void>
  /** Removes what has not become a generation, and gives the builder back. */
  release(): Promise<void>
}

export type BuilderDisks = ReturnType<typeof createBuilderDisks>

export function createBuilderDisks(options: BuilderDisksOptions) {
  const { db, log, root, worker, stamp, mkfsExt4 } = options
  const maxBytes = options.maxBytes ?? BUILDER_DISKS_GB_DEFAULT * GiB
  /** Files that builds have right now, and how large they may get. */
  const live = new Map<string, number>()
  const room = createBuilderRoom({ db, log, root, worker, maxBytes, live, sweep })

  /** The disk for a build that was just claimed; undefined when it has none, or none could be made. */
  async function take(build: ClaimedBuild): Promise<BuilderDisk | undefined> {
    const { builderKey: key } = build
    if (key === undefined) return undefined
    const lease = createBuilderLease({ db, key, token: build.leaseToken })
    const held = await lease.read()
    if (!held) return undefined
    const name = `${build.id}-${build.attempt}`
    const file = join(root, key, `${name}.img`)
    live.set(file, 0)
    try {
      const base = await usable(key, held)
      const from = base === undefined ? undefined : join(root, key, `${base}.img`)
      const bytes = held.diskSizeGb * GiB
      await rm(file, { force: true })
      await room.take(file, bytes)
      const copied = from === undefined ? 0 : await diskBytes(from)
      await requireDiskRoom(await folder(key), DISK_FREE_BYTES_MIN + copied)
      if (from === undefined) await makeLastingDisk(file, { bytes, mkfsExt4 })
      else await copyDisk(from, file)
      return asDisk({ build, key, lease, held, name, file, base })
    } catch (error) {
      log.warn({ err: asError(error).message, buildId: build.id }, 'no disk of its builder')
      await rm(file, { force: true })
      live.delete(file)
      return undefined
    }
  }

  async function folder(key: string): Promise<string> {
    const path = join(root, key)
    await mkdir(path, { recursive: true, mode: 0o700 })
    return path
  }

  async function usable(key: string, { generation }: HeldBuilder): Promise<string | undefined> {
    if (generation?.worker !== worker || generation.stamp !== stamp) return undefined
    const found = await stat(join(root, key, `${generation.name}.img`)).catch(() => undefined)
    return found && generation.name
  }

  function asDisk(taken: {
    build: ClaimedBuild
    key: string
    lease: BuilderLease
    held: HeldBuilder
    name: string
    file: string
    base: string | undefined
  }): BuilderDisk {
    const { build, key, lease, held, name, file, base } = taken
    let isKept = false
    return {
      builderId: held.id,
      file,
      bytes: held.diskSizeGb * GiB,
      isWarm: base !== undefined,
      promotes: build.builderPromotes,
      beginSave: lease.beginSave,
      async promote() {
        await fsync(file)
        await fsync(join(root, key))
        // Whatever it held before is not used from here on, be it of another worker or another BuildKit.
        const bytes = await diskBytes(file)
        isKept = await lease.promote(held.generation?.name, { name, worker, stamp, bytes })
        if (isKept && base !== undefined) await rm(join(root, key, `${base}.img`), { force: true })
        return isKept
      },
      async dropBase() {
        if (base !== undefined) await lease.drop(base)
      },
      async release() {
        if (!isKept) await rm(file, { force: true })
        live.delete(file)
        await lease.release()
      },
    }
  }

  /** Removes files that no row names: what a dead server left, old generations, removed builders. */
  async function sweep(): Promise<string[]> {
    const inUse = new Set(live.keys())
    const keys = await readdir(root).catch(() => [])
    const found = new Map<string, string[]>()
    for (const key of keys) found.set(key, await readdir(join(root, key)).catch(() => []))
    // Read after the folders: a file that is newer than this is not in the list.
    const known = await db('builders').whereIn('key', keys).select()
    const removed: string[] = []
    for (const [key, names] of found) {
      const row = known.find((builder) => builder.key === key)
      const isOurs = row?.generation_worker === worker
      for (const name of names) {
        const file = join(root, key, name)
        // A build may have taken it since the sweep began.
        if (inUse.has(file) || live.has(file)) continue
        if (isOurs && name === `${row.generation}.img`) continue
        await rm(file, { recursive: true, force: true })
        removed.push(`${key}/${name}`)
      }
      const isBusy = [...inUse, ...live.keys()].some((file) => file.startsWith(join(root, key)))
      if (!row && !isBusy) await rm(join(root, key), { recursive: true, force: true })
    }
    return removed
  }

  return { take, sweep, keepRoom: room.keep }
}

/** Where the host's file system can, without copying a byte; holes stay holes. */
export async function copyDisk(from: string, to: string): Promise<void> {
  const args = ['--reflink=auto', '--sparse=auto', '--no-target-directory', from, to]
  await execa('cp', args, { stdin: 'ignore', timeout: BUILDER_CLONE_DEADLINE_MS })
}
