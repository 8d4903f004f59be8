// Forward-only migrations, all that are due in one transaction under an advisory lock of it: several processes may
// start at once, and one that dies in the middle leaves nothing behind.
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { AppError } from '../errors.ts'
import { VERSION } from '../version.ts'
import { notify } from './notices.ts'
import { type Db, type Queryable, rows } from './pool.ts'

const MIGRATION_LOCK = 0x68797065 // "hype"
const LOCK_POLL_MS = 250
const directory = fileURLToPath(new URL('../../migrations', import.meta.url))

export interface MigrateOptions {
  /** Another process has the lock; it is waited for. */
  onWait?: () => void
  /** Ends the wait. */
  signal?: AbortSignal
}

/** Returns the names of the migrations it applied. Throws AppError `version_skew` on a database of a newer program. */
export function migrate(db: Db, options: MigrateOptions = {}): Promise<string[]> {
  return db.transaction(async (trx) => {
    await takeLock(trx, options)
    await requireKnown(trx)
    const config = { directory, loadExtensions: ['.js'] }
    // knex keeps a lock of its own in a row; ours is the one that counts.
    await trx.migrate.forceFreeMigrationsLock(config)
    const [, applied] = (await trx.migrate.latest(config)) as [number, string[]]
    if (applied.length > 0) notify(trx, 'hypeman_migrated', '') // who runs on what was before has to know
    return applied
  })
}

async function takeLock(trx: Queryable, { onWait, signal }: MigrateOptions): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const sql = 'select pg_try_advisory_xact_lock(?) as got'
    const [row] = await rows<{ got: boolean }>(trx, sql, [MIGRATION_LOCK])
    if (row?.got) return
    if (tries === 0) onWait?.()
    await sleep(LOCK_POLL_MS, undefined, { signal })
  }
}

async function requireKnown(db: Queryable): Promise<void> {
  const names = new Set(await migrationNames())
  const unknown = (await appliedNames(db)).filter((name) => !names.has(name))
  if (unknown.length === 0) return
  throw new AppError(
    'version_skew',
    `the database is at ${unknown.at(-1)}, which this server (version ${VERSION}) does not know: it was brought up to date by a newer one. Run that version, or restore a backup from before`,
  )
}

/** Those that this program has. */
export async function migrationNames(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.js')).sort()
}

/** In the order of their names: numbers have gaps, and one may be filled late. */
export async function appliedNames(db: Queryable): Promise<string[]> {
  if (!(await db.schema.hasTable('knex_migrations'))) return []
  return db('knex_migrations').orderBy('name').pluck('name')
}

/** The last one that this program has. */
export async function newestMigration(): Promise<string> {
  return (await migrationNames()).at(-1) ?? ''
}

/** For who may not migrate. Throws AppError `version_skew` when the database is not the one it knows. */
export async function requireMigrated(db: Db): Promise<void> {
  const expected = await newestMigration()
  const found = (await appliedNames(db)).at(-1) ?? 'empty'
  if (found === expected) return
  const todo =
    found === 'empty' || found < expected
      ? 'start the server of this version first: it brings the database up to date'
      : 'run the version of the server'
  throw new AppError(
    'version_skew',
    `the database is at ${found}, this worker (version ${VERSION}) needs ${expected}: ${todo}`,
  )
}
