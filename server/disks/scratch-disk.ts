// The guest's writable disk: a sparse ext4 image, used once. It never has to survive anything, so it has no
// journal; it is never mounted or checked on the host once a guest has had it (DESIGN §4.9).
import { open } from 'node:fs/promises'
import { execa } from 'execa'
import { MKFS_DEADLINE_MS } from '../limits.ts'

/** Inode tables are zeroed by the guest when it needs them, and nothing is reserved for root. */
const MKFS_ARGS = [
  '-q',
  '-F',
  '-m',
  '0',
  '-O',
  '^has_journal,^resize_inode,^metadata_csum',
  '-E',
  'lazy_itable_init=1,nodiscard',
]

export async function makeScratchDisk(
  file: string,
  { bytes, mkfsExt4 }: { bytes: number; mkfsExt4: string },
): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.truncate(bytes)
  } finally {
    await handle.close()
  }
  await execa(mkfsExt4, [...MKFS_ARGS, file], { stdin: 'ignore', timeout: MKFS_DEADLINE_MS })
}
