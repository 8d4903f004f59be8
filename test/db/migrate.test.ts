// Bringing the database up to date: at once, one after the other, killed in the middle, by an older program.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { migrate, newestMigration, requireMigrated } from '../../server/db/migrate.ts'
import { createDb, type Db } from '../../server/db/pool.ts'
import { givenDatabase, givenEmptyDatabase } from '../helpers/database.ts'
import { until } from '../helpers/until.ts'

const LOCK = 0x68797065

function open(t: TestContext, url: string): Db {
  const db = createDb(url)
  t.after(() => db.destroy())
  return db
}

const names = (db: Db): Promise<string[]> => db('knex_migrations').orderBy('name').pluck('name')

test('servers that start at once on an empty database migrate it once, and all of them start', async (t) => {
  const url = await givenEmptyDatabase(t)
  const pools = Array.from({ length: 4 }, () => open(t, url))
  const applied = await Promise.all(pools.map((db) => migrate(db)))
  const all = await names(pools[0]!)
  assert.equal(all.at(-1), await newestMigration())
  assert.deepEqual(applied.flat().sort(), all)
  assert.equal(applied.filter((list) => list.length > 0).length, 1)
})

test('a server that starts while another one migrates says so, waits, and then finds it done', async (t) => {
  const url = await givenEmptyDatabase(t)
  const [first, second] = [open(t, url), open(t, url)]
  const holder = await first.transaction()
  await holder.raw('select pg_advisory_xact_lock(?)', [LOCK])
  const said: string[] = []
  const waiting = migrate(second, { onWait: () => said.push('waits') })
  await until('the second one to wait', () => said.length > 0)
  await holder.raw('select pg_sleep(0.6)')
  assert.equal(await first.schema.hasTable('builds'), false)
  await holder.commit()
  assert.notEqual((await waiting).length, 0)
  assert.deepEqual(said, ['waits'])
  assert.deepEqual(await migrate(first, { onWait: () => said.push('again') }), [])
  assert.deepEqual(said, ['waits'])
})

test('a server that is stopped while it waits for a migration ends, and holds nothing', async (t) => {
  const url = await givenEmptyDatabase(t)
  const [first, second] = [open(t, url), open(t, url)]
  const holder = await first.transaction()
  await holder.raw('select pg_advisory_xact_lock(?)', [LOCK])
  const stop = new AbortController()
  const waiting = migrate(second, { onWait: () => stop.abort(), signal: stop.signal })
  await assert.rejects(waiting, { name: 'AbortError' })
  await holder.commit()
  assert.notEqual((await migrate(first)).length, 0)
})

for (const statement of ['create table workers', 'insert into "knex_migrations"']) {
  test(`a migration killed in the middle (after ${statement}) is done again whole`, async (t) => {
    const url = await givenEmptyDatabase(t)
    const run = promisify(execFile)(process.execPath, [
      ...['--import', 'tsx', 'test/helpers/doomed-migration.ts', url, statement],
    ])
    await assert.rejects(run, { signal: 'SIGKILL' })
    const db = open(t, url)
    const applied = await migrate(db)
    assert.deepEqual(applied, await names(db))
    assert.equal(applied.at(-1), await newestMigration())
    await requireMigrated(db)
  })
}

test('a server that is older than its database does not start on it, says what to do, and changes nothing', async (t) => {
  const { db } = await givenDatabase(t)
  await db('knex_migrations').insert({ name: '9999_next.js', batch: 9, migration_time: new Date() })
  await db('knex_migrations')
    .where({ name: await newestMigration() })
    .delete()
  const before = await names(db)
  await assert.rejects(migrate(db), {
    code: 'version_skew',
    message:
      /is at 9999_next\.js, which this server \(version .*\) does not know: .*Run that version/,
  })
  assert.deepEqual(await names(db), before)
})

test('an older database is brought up to date, and what is in it stays', async (t) => {
  const { db } = await givenDatabase(t)
  const all = await names(db)
  await db('apps').insert({ id: 'kept', tenant: 'acme', name: 'kept' })
  const due = '0012_low_disks.js'
  await db('knex_migrations').where({ name: due }).delete()
  await db.raw('drop table low_disks')
  assert.deepEqual(await migrate(db), [due])
  assert.deepEqual(await names(db), all)
  assert.equal((await db('apps').where({ id: 'kept' })).length, 1)
})

test('a worker does not stop on a database where an earlier migration ran after the newest', async (t) => {
  const { db } = await givenDatabase(t)
  const newest = await newestMigration()
  const [first] = await db('knex_migrations').orderBy('name').limit(1)
  assert.notEqual(first.name, newest)
  await db('knex_migrations').where({ name: first.name }).update({ id: 1_000_000 })
  await requireMigrated(db)
})
