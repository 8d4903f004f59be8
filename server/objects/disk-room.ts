// Whether the disk has room for what comes in: the database on it needs some to live.
import { statfs } from 'node:fs/promises'
import { AppError } from '../errors.ts'
import { DISK_FREE_BYTES_MIN } from '../limits.ts'

/** `path`: a folder on the disk. Throws AppError `disk_full`. */
export async function requireDiskRoom(
  path: string,
  freeBytesMin = DISK_FREE_BYTES_MIN,
): Promise<void> {
  const { bavail, bsize } = await statfs(path)
  if (bavail * bsize >= freeBytesMin) return
  const free = Math.floor((bavail * bsize) / 1024 / 1024)
  const needed = Math.ceil(freeBytesMin / 1024 / 1024)
  throw new AppError(
    'disk_full',
    `the build server has ${free} MiB of disk left and takes nothing to build below ${needed} MiB`,
    { hint: 'tell its operator; nothing of this was kept' },
  )
}
