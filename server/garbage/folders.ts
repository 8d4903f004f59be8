// Reading distribution's folders, of which any may go away at any time.
import { rmdirSync, statSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

export interface Entry {
  /** `sha256:<hex>` */
  digest: string
  folder: string
}

/** Names of the folders in it; none when it is not there. */
export async function foldersIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch (error) {
    return ifMissing(error, [])
  }
}

/** `<path>/<algorithm>/<hex>` */
export async function entriesIn(path: string): Promise<Entry[]> {
  const found: Entry[] = []
  for (const algorithm of await foldersIn(path)) {
    for (const hex of await foldersIn(join(path, algorithm))) {
      found.push({ digest: `${algorithm}:${hex}`, folder: join(path, algorithm, hex) })
    }
  }
  return found
}

/** undefined when it is not there. */
export async function modifiedMs(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    return ifMissing(error, undefined)
  }
}

export function modifiedMsNow(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}

export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    return ifMissing(error, undefined)
  }
}

/** False when it holds something, or is gone. */
export function removeIfEmpty(path: string): boolean {
  try {
    rmdirSync(path)
    return true
  } catch {
    return false
  }
}

function ifMissing<T>(error: unknown, value: T): T {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ENOTDIR') return value
  throw error
}
