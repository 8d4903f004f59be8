// One entry of a source archive: may it come in? Links depend on the archive's maker: a repository that holds
// one which leads outside should still build (the agent leaves it out); an upload with one is refused, and
// may hold hard links, which git never makes.
import { posix } from 'node:path'
import type { Header } from 'tar-stream'
import { AppError } from '../errors.ts'
import { SOURCE_PATH_BYTES_MAX } from '../limits.ts'

const ENTRY_TYPES = new Set<unknown>(['file', 'directory', 'symlink'])
const SHOWN_CHARS_MAX = 200

export type Maker = 'git' | 'upload'

/** The name as paths are compared: without `./`, doubled or trailing slashes. */
export function entryPath(name: string): string {
  return posix.normalize(name).replace(/\/$/, '')
}

/** `isThere`: whether a file has come before. */
export function checkEntry(
  { name, type, linkname, size }: Header,
  maker: Maker,
  isThere: (path: string) => boolean,
): void {
  const shown = show(name)
  if (leaves(name)) throw invalidSource(`the path ${shown} leaves the source`)
  for (const path of [name, linkname ?? '']) {
    if (Buffer.byteLength(path) > SOURCE_PATH_BYTES_MAX) {
      throw invalidSource(`a path is over ${SOURCE_PATH_BYTES_MAX} bytes: ${show(path)}`)
    }
    if (path.includes('\0')) throw invalidSource(`the path ${show(path)} holds a NUL`)
  }
  if (entryPath(name) === '.' && type !== 'directory') {
    throw invalidSource(`${shown} is the source's own folder, but a ${type} in the archive`)
  }
  // tar-stream would wait for them, and they never come.
  if (type === 'directory' && size !== 0)
    throw invalidSource(`${shown} is a folder of ${size} bytes`)
  if (maker === 'upload' && type === 'symlink') checkSymlink(name, linkname)
  if (maker === 'upload' && type === 'link') {
    checkHardLink(name, linkname, isThere)
  } else if (!ENTRY_TYPES.has(type)) {
    const kind = type ?? 'thing of an unknown kind'
    throw invalidSource(`${shown} is a ${kind}; only files, folders and links are taken`)
  }
}

export function invalidSource(message: string, cause?: unknown): AppError {
  return new AppError('invalid_source', message, { cause })
}

function checkSymlink(name: string, target: string | null | undefined): void {
  if (!target) throw invalidSource(`${show(name)} is a link to nothing`)
  const reached = posix.join(posix.dirname(entryPath(name)), target)
  if (target.startsWith('/') || leaves(reached)) {
    throw invalidSource(`${show(name)} is a link to ${show(target)}, which leaves the source`)
  }
}

function checkHardLink(
  name: string,
  target: string | null | undefined,
  isThere: (path: string) => boolean,
): void {
  if (!target || leaves(target)) {
    throw invalidSource(`${show(name)} is a hard link to ${show(target ?? '')}, outside the source`)
  }
  if (!isThere(entryPath(target))) {
    throw invalidSource(
      `${show(name)} is a hard link to ${show(target)}, which does not precede it`,
    )
  }
}

function leaves(path: string): boolean {
  return path.startsWith('/') || path.split('/').includes('..')
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, SHOWN_CHARS_MAX))
}
