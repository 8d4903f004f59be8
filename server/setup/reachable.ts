// Parts that unprivileged users execute or read must lie where those users can walk to. When the cache is
// below a closed folder (root's home), such parts are linked into a system cache folder.
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { isRoot } from './debian.ts'
import { isReachable, stageFile, stageTree } from './stage.ts'

const SYSTEM_CACHE = '/var/cache/hypeman'

/** The same file or folder under a path everyone can walk; `key` tells versions apart. */
export async function reachable(path: string, key: string): Promise<string> {
  if (!isRoot() || (await isOpen(path))) return path
  const target = join(SYSTEM_CACHE, key, basename(path))
  const isFolder = (await stat(path)).isDirectory()
  return isFolder ? stageTree(path, target) : stageFile(path, target)
}

async function isOpen(path: string): Promise<boolean> {
  return ((await stat(path)).mode & 0o004) !== 0 && (await isReachable(path))
}
