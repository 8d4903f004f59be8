// Forward-only migrations under an advisory lock, so that several processes may start at once.
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { AppError } from '../errors.ts'
import { VERSION } from '../version.ts'
import type { Db } from './pool.ts'

const MIGRATION_LOCK = 0x68797065 // "hype"
const directory = fileURLToPath(new URL('../../migrations', import.meta.url))

/** Returns the names of the migrations it applied. */
export async function migrate(db: Db, url: string): Promise<string[]> {
  const holder = new pg.Client({ connectionString: url })
  await holder.connect()
  try {
    await holder.query('select pg_advisory_lock($1)', [MIGRATION_LOCK])
    const config = { directory, loadExtensions: ['.js'] }
    // knex keeps its own lock in a row, which a killed process leaves behind; ours is the one that counts.
    await db.migrate.forceFreeMigrationsLock(config)
    const [, applied] = (await db.migrate.latest(config)) as [number, string[]]
    return applied
  } finally {
    await holder.end()
  }
}

/** The last one that this program has. */
export async function newestMigration(): Promise<string> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.js')).sort()
  return names.at(-1) ?? ''
}

/** For who may not migrate. Throws AppError `version_skew` when the database is not the one it knows. */
export async function requireMigrated(db: Db): Promise<void> {
  const expected = await newestMigration()
  const row = (await db.schema.hasTable('knex_migrations'))
    ? await db('knex_migrations').orderBy('name', 'desc').first('name')
    : undefined
  if (row?.name === expected) return
  const found = row?.name ?? 'empty'
  const todo =
    found === 'empty' || found < expected
      ? 'start the server of this version first: it brings the database up to date'
      : 'run the version of the server'
  throw new AppError(
    'version_skew',
    `the database is at ${found}, this worker (version ${VERSION}) needs ${expected}: ${todo}`,
  )
}
