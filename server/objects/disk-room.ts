// Whether the disk has room for what comes in: the database on it needs some to live.
import { statfs } from 'node:fs/promises'
import { AppError } from '../errors.ts'
import { DISK_FREE_BYTES_MIN, DISK_LOOK_BYTES } from '../limits.ts'

export async function freeBytesOf(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path)
  return bavail * bsize
}

/** Below it nothing comes in; where builds wait for less room than usual, it is half of that. */
export function freeBytesMinOf(floorBytes: number): number {
  return Math.min(DISK_FREE_BYTES_MIN, floorBytes / 2)
}

/** `path`: a folder on the disk. Throws AppError `disk_full`. */
export async function requireDiskRoom(
  path: string,
  freeBytesMin = DISK_FREE_BYTES_MIN,
): Promise<void> {
  const freeBytes = await freeBytesOf(path)
  if (freeBytes >= freeBytesMin) return
  const free = Math.floor(freeBytes / 1024 / 1024)
  const needed = Math.ceil(freeBytesMin / 1024 / 1024)
  throw new AppError(
    'disk_full',
    `the build server has ${free} MiB of disk left and takes nothing in below ${needed} MiB`,
    { hint: 'tell its operator; nothing of this was kept' },
  )
}

/** Passes what is written to the disk on, and looks again and again: others write as well. */
export async function* whileDiskRoom(
  source: AsyncIterable<Buffer>,
  requireRoom: () => Promise<void>,
): AsyncGenerator<Buffer> {
  let unseen = 0
  for await (const chunk of source) {
    unseen += chunk.length
    if (unseen >= DISK_LOOK_BYTES) {
      await requireRoom()
      unseen = 0
    }
    yield chunk
  }
}
