// Looks at a source archive while it passes: size, number of entries, paths, kinds; and what a person should
// know of it. Nothing is extracted.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import tar from 'tar-stream'
import { AppError } from '../errors.ts'
import { SOURCE_BYTES_MAX, SOURCE_ENTRIES_MAX } from '../limits.ts'
import { checkEntry, entryPath, invalidSource, type Maker } from './entry-check.ts'

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

export interface ArchiveRules {
  limits?: ArchiveLimits | undefined
  /** What to do when a limit is exceeded, as a hint. */
  advice?: string
  /** Who made it: what git archive makes is sound, or it is our own failure. */
  maker: Maker
  warnsOfSubmodules?: boolean
}

export interface ArchiveFacts {
  /** Whether there is such a file, or a link of this name. */
  hasFile(path: string): boolean
  /** Sentences for the person who pushed. */
  warnings: string[]
}

export type ArchiveCheck = ReturnType<typeof createArchiveCheck>

export function createArchiveCheck(rules: ArchiveRules) {
  const { limits = ARCHIVE_LIMITS, advice, maker } = rules
  const inspector = createInspector(limits.entriesMax, rules)
  return {
    /** Passes the bytes on. Throws AppError `source_too_large` or `invalid_source`. */
    async *pass(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      let bytes = 0
      try {
        for await (const chunk of source) {
          bytes += chunk.length
          if (bytes > limits.bytesMax) {
            const unzipped = maker === 'upload' ? ', unzipped' : ''
            throw tooLarge(`${inMiB(limits.bytesMax)}${unzipped}`, advice)
          }
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

function createInspector(
  entriesMax: number,
  { maker, advice, warnsOfSubmodules = false }: ArchiveRules,
) {
  const extract = tar.extract()
  const pointers: string[] = []
  const files = createPathSet()
  let hasSubmodules = false
  let entries = 0
  let failure: Error | undefined
  const ended = new AbortController()
  const end = (error?: Error) => {
    const isParser = error !== undefined && !(error instanceof AppError)
    failure ??= isParser && maker === 'upload' ? notTar(error) : error
    ended.abort()
  }
  extract.on('entry', (header, body, next) => {
    entries += 1
    try {
      if (entries > entriesMax) throw tooLarge(`${entriesMax} files`, advice)
      checkEntry(header, maker, files.has)
    } catch (problem) {
      extract.destroy(problem as Error)
    }
    if (header.type !== 'directory') files.add(entryPath(header.name))
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
      return {
        hasFile: files.has,
        warnings: warningsOf(hasSubmodules && warnsOfSubmodules, pointers),
      }
    },
  }
}

/** Paths by their fingerprint, because hundreds of thousands of long ones would fill the memory. */
function createPathSet() {
  const prints = new Set<string>()
  const print = (path: string) => createHash('sha256').update(path).digest('base64').slice(0, 16)
  return {
    add: (path: string) => void prints.add(print(path)),
    has: (path: string) => prints.has(print(entryPath(path))),
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
    warnings.push(
      `the build sees git-lfs pointers: .gitattributes has no filter=lfs for ${names}${more}`,
    )
  }
  return warnings
}

function tooLarge(limit: string, hint: string | undefined): AppError {
  return new AppError('source_too_large', `the source is over the limit of ${limit}`, {
    ...(hint === undefined ? {} : { hint }),
  })
}

function notTar(error: Error): AppError {
  // The parser goes on with a guess about gzip, which is never right here.
  const why = error.message.replace(/\. Maybe the tar .*$/, '')
  return invalidSource(
    `the source is not a tar archive: ${why}; send tar, plain or gzip-compressed`,
    error,
  )
}

function inMiB(bytes: number): string {
  const MiB = 1024 * 1024
  return bytes >= MiB ? `${Math.floor(bytes / MiB)} MiB` : `${bytes} bytes`
}
