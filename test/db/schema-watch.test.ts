// A database that changes under a running program: it is told once, and that by the notice of whoever did it.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { migrate, newestMigration } from '../../server/db/migrate.ts'
import { notify } from '../../server/db/notices.ts'
import type { Db } from '../../server/db/pool.ts'
import { createSchemaWatch } from '../../server/db/schema-watch.ts'
import { givenDatabase, silent, type TestDatabase } from '../helpers/database.ts'
import { until } from '../helpers/until.ts'

async function givenWatch(t: TestContext, { db, listener }: TestDatabase) {
  const told: string[] = []
  const onUnfit = (reason: string) => told.push(reason)
  const watch = createSchemaWatch({ db, listener, log: silent, onUnfit })
  await watch.start()
  t.after(watch.stop)
  return { told, watch }
}

const change = (db: Db) => notify(db, 'hypeman_migrated', '')

test('a running server hears that a newer one has brought the database up to date, once', async (t) => {
  const database = await givenDatabase(t)
  const { db } = database
  const { told, watch } = await givenWatch(t, database)
  assert.equal(watch.skew(), undefined)
  await db('knex_migrations').insert({ name: '9999_next.js', batch: 9, migration_time: new Date() })
  change(db)
  await until('told', () => told.length > 0)
  assert.match(told[0]!, /is at 9999_next\.js now, which this program \(version .*Run that version/)
  assert.equal(watch.skew(), told[0])
  change(db)
  await watch.stop()
  assert.equal(told.length, 1)
})

test('a migration with a lower number than the newest is noticed too', async (t) => {
  const database = await givenDatabase(t)
  const { db } = database
  const { told } = await givenWatch(t, database)
  await db('knex_migrations').insert({ name: '0008_late.js', batch: 9, migration_time: new Date() })
  change(db)
  await until('told', () => told.length > 0)
  assert.match(told[0]!, /is at 0008_late\.js now/)
})

test('a database that was put back to an earlier state is noticed by the migration it lacks', async (t) => {
  const database = await givenDatabase(t)
  const { db } = database
  const { told } = await givenWatch(t, database)
  const name = await newestMigration()
  await db('knex_migrations').where({ name }).delete()
  change(db)
  await until('told', () => told.length > 0)
  assert.match(told[0]!, new RegExp(`the database lacks ${name}, .*Start the server`))
})

test('who brings a database up to date tells those who run on it', async (t) => {
  const { db, listener } = await givenDatabase(t)
  let heard = 0
  listener.on('hypeman_migrated', () => {
    heard += 1
  })
  await migrate(db)
  assert.equal(heard, 0)
  await db('knex_migrations').where({ name: '0012_low_disks.js' }).delete()
  await db.raw('drop table low_disks')
  await migrate(db)
  await until('heard', () => heard > 0)
})
