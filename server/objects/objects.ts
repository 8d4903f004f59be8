// Source archives as content-addressed files: written to a temporary file while they are hashed, synced,
// then renamed; a failure leaves nothing.
import { createHash, randomUUID } from 'node:crypto'
import {
  link,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AppError } from '../errors.ts'
import { fsync } from '../fsync.ts'
import { requireDiskRoom, whileDiskRoom } from './disk-room.ts'

export interface StoredObject {
  /** Name within the store, `sources/<hex>`. */
  key: string
  /** `sha256:<hex>` of the stored bytes. */
  sha256: string
  bytes: number
}

/** Complete and synced, but not in the store yet: refused input leaves nothing. */
export interface StagedObject extends StoredObject {
  /** Puts it into the store. */
  keep(): Promise<void>
  /** Does nothing once it is kept. */
  discard(): Promise<void>
}

/** An object as a file on this host, until it is released. */
export interface ObjectFile {
  path: string
  release(): Promise<void>
}

/** An object that was kept, and that the storage does not have any more, or not as it was. */
export class ObjectLost extends AppError {
  override name = 'ObjectLost'

  constructor(message: string, cause?: unknown) {
    super('objects_unavailable', message, { cause })
  }
}

/** Where source archives are kept: content is the name. */
export interface Objects {
  /** Takes a stream in; rejects with the stream's own error, or AppError `disk_full`, `objects_unavailable`. */
  stage(stream: AsyncIterable<Buffer>): Promise<StagedObject>
  /** Throws ObjectLost. */
  fetch(key: string, signal: AbortSignal): Promise<ObjectFile>
  remove(key: string): Promise<void>
  /** All that is kept, in no order. */
  list(): AsyncGenerator<{ key: string; bytes: number }>
  /** Ends what a dead server left half written. */
  sweep(): Promise<number>
  /** The installation whose storage this is, as it was told. */
  owner(): Promise<string | undefined>
  /** Tells it, unless it has been told: of several at once, one is first. */
  own(installation: string): Promise<void>
}

/** Name of the marker that says whose storage it is. */
export const OWNER_FILE = 'installation'

const KEY = /^sources\/[0-9a-f]{64}$/

export const isKey = (key: string) => KEY.test(key)

export function requireKey(key: string): string {
  if (!isKey(key)) throw new TypeError(`not an object key: ${JSON.stringify(key)}`)
  return key
}

/** SHA-256 of the bytes. */
export const hexOf = (key: string) => requireKey(key).slice('sources/'.length)

export type LocalObjects = ReturnType<typeof createLocalObjects>

export interface LocalObjectsOptions {
  root: string
  /** Throws AppError `disk_full`; asked again and again while an object arrives. */
  requireRoom?: (() => Promise<void>) | undefined
}

export function createLocalObjects(options: LocalObjectsOptions) {
  const { root, requireRoom = () => requireDiskRoom(root) } = options
  const temporary = join(root, 'incoming')

  function path(key: string): string {
    return join(root, `${requireKey(key)}.tar`)
  }

  async function stage(stream: AsyncIterable<Buffer>): Promise<StagedObject> {
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    const name = join(temporary, randomUUID())
    const discard = () => rm(name, { force: true })
    const hash = createHash('sha256')
    let bytes = 0
    const file = await open(name, 'wx', 0o600)
    try {
      for await (const chunk of whileDiskRoom(stream, requireRoom)) {
        hash.update(chunk)
        bytes += chunk.length
        await file.writeFile(chunk)
      }
      await file.sync()
      await file.close()
    } catch (error) {
      await file.close().catch(() => {}) // the error says what is wrong
      await discard()
      throw error
    }
    const hex = hash.digest('hex')
    const key = `sources/${hex}`
    const keep = async () => {
      await mkdir(dirname(path(key)), { recursive: true, mode: 0o700 })
      await rename(name, path(key))
      await fsync(dirname(path(key)))
    }
    return { key, sha256: `sha256:${hex}`, bytes, keep, discard }
  }

  const ownerFile = join(root, OWNER_FILE)

  async function owner(): Promise<string | undefined> {
    const text = await readFile(ownerFile, 'utf8').catch((error) => {
      if (error.code === 'ENOENT') return ''
      throw error
    })
    return text.trim() || undefined
  }

  async function own(installation: string): Promise<void> {
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    const name = join(temporary, randomUUID())
    await writeFile(name, `${installation}\n`, { mode: 0o600, flush: true })
    // Where the file system has no links, the last is.
    await link(name, ownerFile).catch((error) => {
      if (error.code !== 'EEXIST') return rename(name, ownerFile)
    })
    await rm(name, { force: true })
    await fsync(root)
  }

  return {
    owner,
    own,

    /** Where an object lies on this host. */
    path,

    stage,

    /** In place: nobody changes an object. */
    async fetch(key: string, _signal: AbortSignal): Promise<ObjectFile> {
      const file = path(key)
      await stat(file).catch((error) => {
        throw error.code === 'ENOENT' ? new ObjectLost(`there is no ${file}`, error) : error
      })
      return { path: file, release: async () => {} }
    },

    async remove(key: string): Promise<void> {
      await rm(path(key), { force: true })
    },

    async *list(): AsyncGenerator<{ key: string; bytes: number }> {
      const folder = await opendir(join(root, 'sources')).catch(() => undefined)
      for await (const { name } of folder ?? []) {
        const key = `sources/${name.replace(/\.tar$/, '')}`
        if (!KEY.test(key)) continue
        const found = await stat(path(key)).catch(() => undefined) // gone meanwhile
        if (found) yield { key, bytes: found.size }
      }
    },

    async sweep(): Promise<number> {
      const left = await readdir(temporary).catch(() => [])
      for (const name of left) await rm(join(temporary, name), { force: true })
      return left.length
    },
  } satisfies Objects & { path(key: string): string }
}
