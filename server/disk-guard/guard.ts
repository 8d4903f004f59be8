// Whether the disk has room for builds: low below the floor, and until there is clearly more than that again.
import { DISK_RECOVERED_SHARE } from '../limits.ts'
import { freeBytesOf } from '../objects/disk-room.ts'

export interface DiskState {
  isLow: boolean
  freeBytes: number
  /** From where on it is no longer low. */
  neededBytes: number
}

export interface DiskGuardOptions {
  /** A folder on the disk. */
  path: string
  floorBytes: number
  /** Instead of asking the file system. */
  freeBytes?: (path: string) => Promise<number>
  onLow?(): void
}

export type DiskGuard = ReturnType<typeof createDiskGuard>

export function createDiskGuard(options: DiskGuardOptions) {
  const { path, floorBytes, freeBytes: read = freeBytesOf, onLow } = options
  let isLow = false
  return {
    async look(): Promise<DiskState> {
      const freeBytes = await read(path)
      const neededBytes = isLow ? floorBytes * DISK_RECOVERED_SHARE : floorBytes
      isLow = freeBytes < neededBytes
      if (isLow) onLow?.()
      return {
        isLow,
        freeBytes,
        neededBytes: isLow ? floorBytes * DISK_RECOVERED_SHARE : neededBytes,
      }
    },
  }
}

/** What a person is told. */
export function lowDiskReason({
  freeBytes,
  neededBytes,
}: Pick<DiskState, 'freeBytes' | 'neededBytes'>): string {
  return `this server is low on disk (${inGiB(freeBytes)} free, ${inGiB(neededBytes)} needed)`
}

function inGiB(bytes: number): string {
  const rounded = Math.round((bytes / 1024 ** 3) * 10) / 10
  return rounded === 0 && bytes > 0 ? 'under 0.1 GiB' : `${rounded} GiB`
}
