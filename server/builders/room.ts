// Room for the disks of builders on this worker. A disk that a build writes counts with its whole size, one that
// waits with what it takes; when they are too much together, the builders that were used longest ago are emptied.
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { createSerial } from '../serial.ts'
import type { Log } from '../telemetry/log.ts'
import { BUSY, EMPTIED } from './busy.ts'

/** Blocks of stat(2), whatever the file system's are. */
const BLOCK_BYTES = 512

export interface BuilderRoomOptions {
  db: Db
  log: Log
  root: string
  worker: string
  maxBytes: number
  /** Disks that builds write, and what they may come to. */
  live: Map<string, number>
  /** Removes files that no row names. */
  sweep(): Promise<unknown>
}

export function createBuilderRoom(options: BuilderRoomOptions) {
  const { db, log, root, worker, maxBytes, live, sweep } = options
  const serial = createSerial()

  async function fits(more: number): Promise<boolean> {
    return (await usedBytes(root, live)) + more <= maxBytes
  }

  async function emptyOldest(): Promise<boolean> {
    const [builder] = await rows<{ tenant: string; id: string }>(
      db,
      `update builders set ${EMPTIED}
       where key = (
         select key from builders
         where generation is not null and generation_worker = ? and not ${BUSY}
         order by last_used_at nulls first, created_at
         limit 1
         for update skip locked
       )
       returning tenant, id`,
      [worker],
    )
    if (builder) log.info({ builder }, 'builder emptied: others need its room')
    return builder !== undefined
  }

  /** False when there is none, whatever is emptied. */
  async function make(bytes: number): Promise<boolean> {
    if (await fits(bytes)) return true
    do {
      await sweep()
      if (await fits(bytes)) return true
    } while (await emptyOldest())
    return false
  }

  return {
    /** For a disk that a build is going to write. */
    take: (file: string, bytes: number): Promise<void> =>
      serial.run(root, async () => {
        if (!(await make(bytes))) {
          const limit = `the disks of builders may take ${maxBytes} bytes together`
          throw new Error(`${limit}, and there is no room for ${bytes} more`)
        }
        live.set(file, bytes)
      }),
    /** After the limit became smaller, as far as builders have no build. */
    keep: (): Promise<boolean> => serial.run(root, () => make(0)),
  }
}

export async function diskBytes(file: string): Promise<number> {
  return (await stat(file)).blocks * BLOCK_BYTES
}

async function usedBytes(root: string, live: ReadonlyMap<string, number>): Promise<number> {
  let bytes = 0
  for (const key of await readdir(root).catch(() => [])) {
    for (const name of await readdir(join(root, key)).catch(() => [])) {
      const file = join(root, key, name)
      if (!live.has(file)) bytes += await diskBytes(file).catch(() => 0)
    }
  }
  for (const promised of live.values()) bytes += promised
  return bytes
}
