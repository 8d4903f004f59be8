// The data of blobs that no repository links any more.
import { stat } from 'node:fs/promises'
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
