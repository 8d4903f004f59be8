// What a file or a folder holds is on disk, so that a power cut leaves it as it is.
import { open } from 'node:fs/promises'

export async function fsync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
