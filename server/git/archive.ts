// A commit as a source archive: `git archive` as the git user, checked while it streams into the store. The
// host never extracts it. On any failure nothing is left.

import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { PassThrough } from 'node:stream'
import tar from 'tar-stream'
import { AppError } from '../errors.ts'
import { SOURCE_BYTES_MAX, SOURCE_ENTRIES_MAX, SOURCE_PATH_BYTES_MAX } from '../limits.ts'
import type { Objects, StoredObject } from '../objects/objects.ts'
import type { GitUser } from './git-user.ts'

const ENTRY_TYPES = new Set(['file', 'directory', 'symlink', 'contiguous-file'])

export interface ArchiveLimits {
  bytesMax: number
  entriesMax: number
}

export interface ArchiveOptions {
  git: GitUser
  objects: Objects
  repoPath: string
  commit: string
  limits?: ArchiveLimits
}

const LIMITS: ArchiveLimits = { bytesMax: SOURCE_BYTES_MAX, entriesMax: SOURCE_ENTRIES_MAX }

/** Throws AppError `source_too_large` or `invalid_source`. */
export async function archiveCommit(options: ArchiveOptions): Promise<StoredObject> {
  const { git, objects, repoPath, commit, limits = LIMITS } = options
  const abort = new AbortController()
  const child = git.stream(['-C', repoPath, 'archive', '--format=tar', commit], abort.signal)
  try {
    const stored = await objects.write(checked(child.stdout, limits))
    const result = await child
    if (result.exitCode === 0) return stored
    await objects.remove(stored.key)
    throw new AppError('invalid_source', `git archive failed: ${result.stderr}`)
  } finally {
    abort.abort()
    await child
  }
}

/** Passes the bytes on while a second reader looks at the entries. */
async function* checked(source: Readable, limits: ArchiveLimits): AsyncGenerator<Buffer> {
  const inspector = inspect(limits)
  let bytes = 0
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > limits.bytesMax) throw tooLarge(`over ${limits.bytesMax} bytes`)
      await inspector.write(chunk)
      yield chunk
    }
    await inspector.end()
  } finally {
    inspector.destroy()
  }
}

function inspect({ entriesMax }: ArchiveLimits) {
  const input = new PassThrough()
  const extract = tar.extract()
  let entries = 0
  let failure: Error | undefined
  const finished = new Promise<void>((resolve) => {
    const fail = (error: Error) => {
      failure ??= error
      resolve()
    }
    extract.on('entry', (header, body, next) => {
      entries += 1
      body.resume()
      body.once('end', next)
      const problem = entries > entriesMax ? tooLarge(`over ${entriesMax} files`) : wrong(header)
      if (problem) extract.destroy(problem)
    })
    extract.once('error', fail)
    extract.once('finish', resolve)
    extract.once('close', resolve)
  })
  input.on('error', () => {})
  input.pipe(extract as unknown as NodeJS.WritableStream)
  return {
    async write(chunk: Buffer): Promise<void> {
      if (failure) throw failure
      if (!input.write(chunk)) await Promise.race([once(input, 'drain'), finished])
      if (failure) throw failure
    },
    async end(): Promise<void> {
      input.end()
      await finished
      if (failure) throw failure
    },
    destroy(): void {
      extract.destroy()
      input.destroy()
    },
  }
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
    return new AppError(
      'invalid_source',
      `${shown} is a ${type}; only files, folders and links are taken`,
    )
  }
  return undefined
}

function tooLarge(what: string): AppError {
  return new AppError('source_too_large', `the source is too large: ${what}`, {
    hint: 'keep large files out of the repository, or mark them export-ignore in .gitattributes',
  })
}
