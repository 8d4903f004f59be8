// Unpacks the source from its raw device, open file or stream into /src. Links that are absolute or lead out of the source are
// left out with a warning: a repository that holds one should still build.
import { createReadStream } from 'node:fs'
import { isAbsolute, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import tar, { type ExtractOptions } from 'tar-fs'
import { WARNINGS_MAX } from './limits.ts'

const READ_BYTES = 1024 * 1024

export type SourceInput = { device: string } | { fd: number } | { stream: Readable }

export interface SourceOptions {
  input: SourceInput
  folder: string
  warn(line: string): void
}

export interface SourceEntry {
  name: string
  type?: string | null | undefined
  linkname?: string | null | undefined
}

/** tar-fs has these; its published types do not. */
interface ExtractOptionsMore extends ExtractOptions {
  chown: boolean
  validateSymlinks: boolean
}

export async function unpackSource({ input, folder, warn }: SourceOptions): Promise<void> {
  const root = resolve(folder)
  let skipped = 0
  const leaveOut = (reason: string) => {
    skipped += 1
    if (skipped <= WARNINGS_MAX) warn(`warning: ${reason}; left out of the source`)
  }
  const options: ExtractOptionsMore = {
    // Everything becomes root's anyway when BuildKit reads it.
    chown: false,
    // It would abort at a link to a link; whyLeftOut() is the check.
    validateSymlinks: false,
    ignore: (_path, header) => {
      const reason = header && whyLeftOut(root, header as SourceEntry)
      if (reason) leaveOut(reason)
      return reason !== undefined
    },
  }
  const read = openInput(input)
  await pipeline(read, tar.extract(root, options))
  if (skipped > WARNINGS_MAX) {
    warn(`warning: ${skipped - WARNINGS_MAX} more entries left out of the source`)
  }
}

function openInput(input: SourceInput): Readable {
  if ('stream' in input) return input.stream
  if ('device' in input) return createReadStream(input.device, { highWaterMark: READ_BYTES })
  return createReadStream('', { fd: input.fd, highWaterMark: READ_BYTES })
}

/** What is wrong with this entry, or undefined when it may be unpacked. */
export function whyLeftOut(root: string, entry: SourceEntry): string | undefined {
  const { name, linkname } = entry
  if (name.split('/').includes('..')) return `${name} has .. in its path`
  switch (entry.type) {
    case 'symlink':
      if (!linkname) return `${name} is a link to nothing`
      if (isAbsolute(linkname)) return `${name} is a link to the absolute path ${linkname}`
      if (isInside(root, resolve(root, name, '..', linkname))) return undefined
      return `${name} is a link to ${linkname}, outside the source`
    case 'link':
      if (linkname && !linkname.split('/').includes('..')) return undefined
      return `${name} is a hard link out of the source`
    case 'file':
    case 'contiguous-file':
    case 'directory':
      return undefined
    default:
      return `${name} is a ${entry.type}`
  }
}

function isInside(root: string, path: string): boolean {
  return path === root || path.startsWith(root + sep)
}
