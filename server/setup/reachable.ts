// Parts that unprivileged users execute or read must lie where those users can walk to. When the cache is
// below a closed folder (root's home), such parts are linked into a system cache folder.
import { stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { exists } from './cache.ts'
import { isRoot } from './debian.ts'
import { markUsed } from './parts-in-use.ts'
import { isReachable, stageFile, stageTree } from './stage.ts'

export const SYSTEM_CACHE = '/var/cache/hypeman'

/** The same file or folder under a path everyone can walk; `key` tells versions apart. */
export async function reachable(path: string, key: string): Promise<string> {
  if (!isRoot() || (await isOpen(path))) return path
  const target = join(SYSTEM_CACHE, key, basename(path))
  await markUsed(join(SYSTEM_CACHE, key))
  if (!(await stat(path)).isDirectory()) {
    await stageFile(path, target)
    await markUsed(join(SYSTEM_CACHE, key))
    return target
  }
  // A thousand files are not looked at again: what has the same key is the same.
  const complete = `${target}.complete`
  if (await exists(complete)) return target
  await stageTree(path, target)
  await writeFile(complete, '')
  return target
}

async function isOpen(path: string): Promise<boolean> {
  return ((await stat(path)).mode & 0o004) !== 0 && (await isReachable(path))
}
