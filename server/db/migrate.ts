// Forward-only migrations under an advisory lock, so that several processes may start at once.
import { fileURLToPath } from 'node:url'
import pg from 'pg'
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
