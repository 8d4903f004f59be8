// Puts files where unprivileged users can reach them: the clone and the cache may lie below a closed folder
// such as root's home. Hard links where the file system allows, else copies; a second call does nothing.
import { randomUUID } from 'node:crypto'
import {
  chmod,
  copyFile,
  link,
  mkdir,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  utimes,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Makes `target` the same file as `source`, readable by all, and executable by all if it is by its owner. */
export async function stageFile(source: string, target: string): Promise<string> {
  const [from, to] = [await stat(source), await stat(target).catch(() => undefined)]
  const wanted = from.mode & 0o100 ? 0o555 : 0o444
  if (to && isSame(from, to) && (to.mode & wanted) === wanted) return target
  await mkdir(dirname(target), { recursive: true, mode: 0o755 })
  await replace(target, async (temporary) => {
    await link(source, temporary).catch(() => copyFile(source, temporary))
    await chmod(temporary, from.mode | wanted)
    await utimes(temporary, from.atime, from.mtime)
  })
  return target
}

interface FileFacts {
  ino: number
  dev: number
  size: number
  mtimeMs: number
}

function isSame(a: FileFacts, b: FileFacts): boolean {
  if (a.ino === b.ino && a.dev === b.dev) return true
  return a.size === b.size && Math.abs(a.mtimeMs - b.mtimeMs) < 1
}

/** The same for a whole folder, symbolic links included. */
export async function stageTree(source: string, target: string): Promise<string> {
  await mkdir(target, { recursive: true, mode: 0o755 })
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const from = join(source, entry.name)
    const to = join(target, entry.name)
    if (entry.isDirectory()) await stageTree(from, to)
    else if (entry.isSymbolicLink()) await stageLink(from, to)
    else await stageFile(from, to)
  }
  return target
}

async function stageLink(from: string, to: string): Promise<void> {
  const wanted = await readlink(from)
  if ((await readlink(to).catch(() => undefined)) === wanted) return
  await replace(to, (temporary) => symlink(wanted, temporary))
}

/** Never half there, also when two processes stage the same file at once. */
async function replace(target: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${target}.${randomUUID()}.tmp`
  try {
    await make(temporary)
    await rename(temporary, target)
  } finally {
    await rm(temporary, { force: true }) // rename of a second name of the same file does nothing
  }
}

/** Whether everyone may walk down to a path. */
export async function isReachable(path: string): Promise<boolean> {
  for (let dir = dirname(path); dir !== '/'; dir = dirname(dir)) {
    const found = await stat(dir).catch(() => undefined)
    if (!found || (found.mode & 0o001) === 0) return false
  }
  return true
}
