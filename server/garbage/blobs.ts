// The data of blobs that no repository links any more: put aside while writes are held, which takes no time,
// and deleted afterwards, which may.
import { mkdirSync, renameSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RegistryStorage } from '../registry/own/storage.ts'
import { foldersIn } from './folders.ts'

export interface Blob {
  digest: string
  folder: string
  bytes: number
}

/** How many there are, and of them those that are not linked. */
export async function unlinkedBlobs(
  { blobs }: RegistryStorage,
  isLinked: (digest: string) => boolean,
): Promise<{ count: number; unlinked: Blob[] }> {
  const unlinked: Blob[] = []
  let count = 0
  for (const algorithm of await foldersIn(blobs)) {
    for (const prefix of await foldersIn(join(blobs, algorithm))) {
      for (const hex of await foldersIn(join(blobs, algorithm, prefix))) {
        count += 1
        const digest = `${algorithm}:${hex}`
        if (isLinked(digest)) continue
        const folder = join(blobs, algorithm, prefix, hex)
        unlinked.push({ digest, folder, bytes: await sizeOf(join(folder, 'data')) })
      }
    }
  }
  return { count, unlinked }
}

async function sizeOf(file: string): Promise<number> {
  const found = await stat(file).catch(() => undefined) // a write that was broken off has left no data
  return found?.size ?? 0
}

/** Called while no write is under way. From here on an upload of the same bytes is a new one. */
export function putAside({ trash }: RegistryStorage, blobs: readonly Blob[]): void {
  mkdirSync(trash, { recursive: true, mode: 0o700 })
  for (const { digest, folder } of blobs) renameSync(folder, join(trash, digest.replace(':', '-')))
}

/** Also what a collection that was broken off has put aside. */
export function emptyTrash({ trash }: RegistryStorage): Promise<void> {
  return rm(trash, { recursive: true, force: true })
}
