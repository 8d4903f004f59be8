// Git LFS objects of apps: the content is stored once under its hash, a row says which app has it. Only who
// has sent the content itself gets a row, so that a hash alone opens nothing.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { holding, lock } from '../db/advisory-lock.ts'
import { type Db, type Queryable, rows } from '../db/pool.ts'
import { AppError, invalidRequest, notFound } from '../errors.ts'
import { ObjectLost, type Objects } from '../objects/objects.ts'
import type { Log } from '../telemetry/log.ts'
import type { Pointer } from './pointer.ts'

const SWEEP_BATCH = 500

/** What of the objects' storage this needs. */
export type LfsObjects = Pick<Objects, 'stage' | 'fetch' | 'list' | 'remove' | 'sweep'>

export interface LfsStoreOptions {
  db: Db
  /** A place of its own: other objects are swept by other rules. */
  objects: LfsObjects
  log: Log
}

export interface LfsFile {
  bytes: number
  /** Throws ObjectLost before its last piece when it is not what was sent. */
  content: AsyncIterable<Uint8Array>
}

export type LfsStore = ReturnType<typeof createLfsStore>

export function createLfsStore({ db, objects, log }: LfsStoreOptions) {
  async function sizes(appId: string, oids: readonly string[]): Promise<Map<string, number>> {
    const found = await rows<{ oid: string; bytes: number }>(
      db,
      'select oid, bytes from lfs_objects where app_id = ? and oid = any (?)',
      [appId, [...oids]],
    )
    return new Map(found.map(({ oid, bytes }) => [oid, bytes]))
  }

  /** Nothing is opened before somebody reads. */
  async function* read(oid: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      const { path, release } = await objects.fetch(keyOf(oid), signal)
      try {
        yield* unharmed(createReadStream(path, { signal }), oid)
      } finally {
        await release()
      }
    } catch (error) {
      if (error instanceof ObjectLost) await noteLost(oid, error)
      throw error
    }
  }

  /** From now on clients are asked for it again. */
  async function noteLost(oid: string, { message }: ObjectLost): Promise<void> {
    log.error({ err: message, oid }, 'a git-lfs object is lost: it has to be sent again')
    await db('lfs_objects')
      .where({ oid })
      .whereNull('lost_at')
      .update({ lost_at: db.raw('clock_timestamp()') })
  }

  return {
    /** Those of the objects that the app has, with their sizes. */
    sizes,

    /** The same for a client that pushes: they stay for a while now, whether or not a ref names them yet. */
    async promise(appId: string, oids: readonly string[]): Promise<Map<string, number>> {
      // Before it is looked at: what is removed in this moment is not promised.
      await db.raw(
        `update lfs_objects set unnamed_since = null
         where app_id = :appId and oid in (
           select oid from lfs_objects
           where app_id = :appId and oid = any(:oids) and unnamed_since is not null
           order by oid
           for update
         )`,
        { appId, oids: [...oids] },
      )
      return sizes(appId, oids)
    },

    /** Those of them that the storage was seen to have lost. */
    async lost(appId: string, oids: readonly string[]): Promise<Set<string>> {
      const found = db('lfs_objects').where({ app_id: appId }).whereIn('oid', oids)
      return new Set(await found.whereNotNull('lost_at').pluck('oid'))
    },

    /** Bytes of all objects of the app. */
    async used(appId: string): Promise<number> {
      const [row] = await rows<{ bytes: number }>(
        db,
        'select coalesce(sum(bytes), 0)::bigint as bytes from lfs_objects where app_id = ?',
        [appId],
      )
      return row?.bytes ?? 0
    },

    /** Takes the content in, and keeps nothing of what is not the object. Throws AppError. */
    async add(appId: string, pointer: Pointer, sent: AsyncIterable<Buffer>): Promise<void> {
      const staged = await objects.stage(atMost(sent, pointer))
      try {
        requireSame(pointer, staged)
        await db.transaction(async (trx) => {
          const app = await trx('apps').where({ id: appId }).forKeyShare().first('id')
          if (!app) throw notFound('app')
          await lock(trx, lockOf(pointer.oid))
          await trx('lfs_objects')
            .insert({ app_id: appId, ...pointer })
            .onConflict(['app_id', 'oid'])
            .ignore()
          await trx('lfs_objects').where({ oid: pointer.oid }).update({ lost_at: null })
          const mine = { app_id: appId, oid: pointer.oid }
          await trx('lfs_objects').where(mine).update({ unnamed_since: null })
          // Last: what fails above leaves nothing behind.
          await staged.keep()
        })
      } finally {
        await staged.discard()
      }
    },

    /** undefined: the app does not have it. `signal` ends a fetch from storage elsewhere. */
    async open(appId: string, oid: string, signal: AbortSignal): Promise<LfsFile | undefined> {
      const bytes = (await sizes(appId, [oid])).get(oid)
      if (bytes === undefined) return undefined
      return { bytes, content: read(oid, signal) }
    },

    /** Ends what a dead server left half written. */
    sweepStaged: () => objects.sweep(),

    /** Objects that no app has any more. */
    async *orphans(): AsyncGenerator<Pointer> {
      let batch: Pointer[] = []
      for await (const { key, bytes } of objects.list()) {
        batch.push({ oid: oidOf(key), bytes })
        if (batch.length < SWEEP_BATCH) continue
        yield* await orphansOf(db, batch)
        batch = []
      }
      yield* await orphansOf(db, batch)
    },

    /** False: somebody has sent it meanwhile. */
    removeOrphan(pointer: Pointer): Promise<boolean> {
      return holding(db, lockOf(pointer.oid), async (trx) => {
        const [orphan] = await orphansOf(trx, [pointer])
        if (orphan !== undefined) await objects.remove(keyOf(pointer.oid))
        return orphan !== undefined
      })
    },
  }
}

/** The last piece is given when the whole was what it should be. */
async function* unharmed(
  content: AsyncIterable<Uint8Array>,
  oid: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let held: Uint8Array | undefined
  for await (const chunk of content) {
    hash.update(chunk)
    if (held) yield held
    held = chunk
  }
  const hex = hash.digest('hex')
  if (hex !== oid) throw new ObjectLost(`object ${oid} is stored with the SHA-256 ${hex}`)
  if (held) yield held
}

async function orphansOf(db: Queryable, pointers: Pointer[]): Promise<Pointer[]> {
  const oids = pointers.map(({ oid }) => oid)
  const known = new Set(await db('lfs_objects').distinct('oid').whereIn('oid', oids).pluck('oid'))
  return pointers.filter(({ oid }) => !known.has(oid))
}

/** Orders those who keep an object and those who sweep it. */
const lockOf = (oid: string) => `lfs:${oid}`

const KEYS = 'sources/'
const keyOf = (oid: string) => `${KEYS}${oid}`
const oidOf = (key: string) => key.slice(KEYS.length)

async function* atMost(
  sent: AsyncIterable<Buffer>,
  { oid, bytes }: Pointer,
): AsyncGenerator<Buffer> {
  let taken = 0
  for await (const chunk of sent) {
    taken += chunk.length
    if (taken > bytes) throw invalidRequest(`object ${oid}: more was sent than its ${bytes} bytes`)
    yield chunk
  }
}

function requireSame({ oid, bytes }: Pointer, sent: { sha256: string; bytes: number }): void {
  const what = `object ${oid}`
  if (sent.bytes !== bytes) {
    throw invalidRequest(`${what}: ${sent.bytes} bytes were sent instead of ${bytes}`)
  }
  if (sent.sha256 !== `sha256:${oid}`) {
    throw new AppError('source_hash_mismatch', `${what}: what was sent has ${sent.sha256}`)
  }
}
