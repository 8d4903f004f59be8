// A guest's writable disk: a sparse ext4 image without journal: it is whole only when it was left in good order.
// It is never mounted or checked on the host once a guest has had it (DESIGN §4.9).
import { open } from 'node:fs/promises'
import { execa } from 'execa'
import { MKFS_DEADLINE_MS } from '../limits.ts'

/** Inode tables are zeroed by the guest when it needs them, and nothing is reserved for root. */
const MKFS_ARGS = ['-q', '-F', '-m', '0', '-E', 'lazy_itable_init=1,nodiscard', '-O']
const WITHOUT = '^has_journal,^resize_inode'

export interface DiskOptions {
  bytes: number
  mkfsExt4: string
}

/** Used once: it never has to survive anything. */
export function makeScratchDisk(file: string, options: DiskOptions): Promise<void> {
  return makeDisk(file, `${WITHOUT},^metadata_csum`, options)
}

/** Used again: with checksums, so that the guest notices what has gone bad, and small as long as it is empty. */
export function makeLastingDisk(file: string, options: DiskOptions): Promise<void> {
  return makeDisk(file, WITHOUT, options)
}

async function makeDisk(file: string, features: string, { bytes, mkfsExt4 }: DiskOptions) {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.truncate(bytes)
  } finally {
    await handle.close()
  }
  await execa(mkfsExt4, [...MKFS_ARGS, features, file], {
    stdin: 'ignore',
    timeout: MKFS_DEADLINE_MS,
  })
}
