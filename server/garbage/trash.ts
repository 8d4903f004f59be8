// What is taken out of the registry is put aside while writes are held, which takes no time, and deleted
// afterwards, which may. What a dead server has put aside is deleted by the next collection.
import { mkdirSync, renameSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

export type Trash = ReturnType<typeof createTrash>

export function createTrash(folder: string) {
  let count = 0
  return {
    /** One folder with all that is in it, or nothing when it is not there. */
    putAside(path: string): void {
      if (count === 0) mkdirSync(folder, { recursive: true, mode: 0o700 })
      count += 1
      try {
        renameSync(path, join(folder, String(count)))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    },

    async empty(): Promise<void> {
      await rm(folder, { recursive: true, force: true })
      count = 0
    },
  }
}
