// Looks at a source archive while it passes: size, number of entries, paths, kinds; and what a person should
// know of it. Nothing is extracted.
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import tar from 'tar-stream'
import { AppError } from '../errors.ts'
import { SOURCE_BYTES_MAX, SOURCE_ENTRIES_MAX, SOURCE_PATH_BYTES_MAX } from '../limits.ts'

const ENTRY_TYPES = new Set(['file', 'directory', 'symlink', 'contiguous-file'])
const LFS_POINTER = 'version https://git-lfs.github.com/spec/'
const LFS_POINTER_BYTES_MAX = 1024
const NAMES_SHOWN = 3

export interface ArchiveLimits {
  bytesMax: number
  entriesMax: number
}

export const ARCHIVE_LIMITS: ArchiveLimits = {
  bytesMax: SOURCE_BYTES_MAX,
  entriesMax: SOURCE_ENTRIES_MAX,
}

export interface ArchiveFacts {
  /** Whether the file asked for is in it. */
  hasFile: boolean
  /** Sentences for the person who pushed. */
  warnings: string[]
}

export type ArchiveCheck = ReturnType<typeof createArchiveCheck>

/** `file` is looked for among the entries. */
export function createArchiveCheck(file: string, limits: ArchiveLimits = ARCHIVE_LIMITS) {
  const inspector = createInspector(file, limits)
  return {
    /** Passes the bytes on. Throws AppError `source_too_large` or `invalid_source`. */
    async *pass(source: Readable): AsyncGenerator<Buffer> {
      let bytes = 0
      try {
        for await (const chunk of source as AsyncIterable<Buffer>) {
          bytes += chunk.length
          if (bytes > limits.bytesMax) throw tooLarge(inMiB(limits.bytesMax))
          await inspector.write(chunk)
          yield chunk
        }
        await inspector.end()
      } finally {
        inspector.destroy()
      }
    },
    /** Complete once everything has passed. */
    facts: inspector.facts,
  }
}

function createInspector(file: string, { entriesMax }: ArchiveLimits) {
  const extract = tar.extract()
  const pointers: string[] = []
  let hasFile = false
  let hasSubmodules = false
  let entries = 0
  let failure: Error | undefined
  const ended = new AbortController()
  const end = (error?: Error) => {
    failure ??= error
    ended.abort()
  }
  extract.on('entry', (header, body, next) => {
    entries += 1
    const problem = entries > entriesMax ? tooLarge(`${entriesMax} files`) : wrong(header)
    if (problem) extract.destroy(problem)
    if (header.name === file) hasFile = true
    if (header.name === '.gitmodules') hasSubmodules = true
    let start = ''
    body.on('error', () => {}) // the same one that `extract` has
    body.on('data', (chunk) => {
      if (isSmallFile(header)) start += (chunk as Buffer).toString('latin1')
    })
    body.once('end', () => {
      if (start.startsWith(LFS_POINTER)) pointers.push(header.name)
      next()
    })
  })
  extract.once('error', end)
  extract.once('finish', () => end())
  extract.once('close', () => end())

  return {
    async write(chunk: Buffer): Promise<void> {
      if (!failure && !extract.write(chunk)) {
        await once(extract, 'drain', { signal: ended.signal }).catch(() => {}) // `failure` says why
      }
      if (failure) throw failure
    },
    async end(): Promise<void> {
      extract.end(undefined)
      if (!ended.signal.aborted) await once(ended.signal, 'abort')
      if (failure) throw failure
    },
    destroy(): void {
      extract.destroy()
    },
    facts(): ArchiveFacts {
      return { hasFile, warnings: warningsOf(hasSubmodules, pointers) }
    },
  }
}

function isSmallFile({ type, size }: tar.Header): boolean {
  return type === 'file' && (size ?? 0) <= LFS_POINTER_BYTES_MAX
}

function warningsOf(hasSubmodules: boolean, pointers: readonly string[]): string[] {
  const warnings: string[] = []
  if (hasSubmodules) {
    warnings.push('submodules are not fetched: their folders are empty in the build')
  }
  if (pointers.length > 0) {
    const names = pointers.slice(0, NAMES_SHOWN).join(', ')
    const more = pointers.length > NAMES_SHOWN ? ` and ${pointers.length - NAMES_SHOWN} more` : ''
    warnings.push(`git-lfs is not served: the build sees pointers instead of ${names}${more}`)
  }
  return warnings
}

function wrong({ name, type }: tar.Header): AppError | undefined {
  const shown = JSON.stringify(name.slice(0, 200))
  if (name.startsWith('/') || name.split('/').includes('..')) {
    return new AppError('invalid_source', `the path ${shown} leaves the source`)
  }
  if (Buffer.byteLength(name) > SOURCE_PATH_BYTES_MAX) {
    return new AppError('invalid_source', `a path is over ${SOURCE_PATH_BYTES_MAX} bytes: ${shown}`)
  }
  if (type && !ENTRY_TYPES.has(type)) {
    const message = `${shown} is a ${type}; only files, folders and links are taken`
    return new AppError('invalid_source', message)
  }
  return undefined
}

function tooLarge(limit: string): AppError {
  return new AppError('source_too_large', `the source is over the limit of ${limit}`, {
    hint: 'keep large files out of the repository, or mark them export-ignore in .gitattributes',
  })
}

function inMiB(bytes: number): string {
  const MiB = 1024 * 1024
  return bytes >= MiB ? `${Math.floor(bytes / MiB)} MiB` : `${bytes} bytes`
}
