// What is left of builds that are gone: where their refs moved to, and images that the database does not know.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Db } from '../../server/db/pool.ts'
import { latestPush } from '../../server/git/push-store.ts'
import { createOrphanImages } from '../../server/retention/orphan-images.ts'
import { createPushRetention } from '../../server/retention/push-rows.ts'
import { givenDatabase } from '../helpers/database.ts'
import { givenApp, givenEnded, givenImages, runPart } from '../helpers/retention.ts'

const MAIN = 'refs/heads/main'

/** A ref moved so many days ago. */
async function moved(db: Db, appId: string, days: number, ref = MAIN): Promise<number> {
  const sha = days.toString(16).padStart(40, 'c')
  const [row] = await db('pushes')
    .insert({
      app_id: appId,
      ref,
      old_sha: '0'.repeat(40),
      new_sha: sha,
      pusher: 'ada',
      source: 'push',
      created_at: db.raw(`now() - ? * interval '1 day'`, [days]),
    })
    .returning('id')
  return row.id
}

test('moves of a ref go when their build is gone; where each ref stands now is known for ever', async (t) => {
  const { db } = await givenDatabase(t)
  const appId = await givenApp(db, 'web')
  const [oldest, built] = [await moved(db, appId, 900), await moved(db, appId, 800)]
  const [latest, young] = [
    await moved(db, appId, 700, 'refs/heads/old'),
    await moved(db, appId, 100),
  ]
  const main = await moved(db, appId, 50)
  await givenEnded(db, { appId, app: 'web', ref: MAIN, pushId: built })
  const retention = createPushRetention({ db, settings: { buildDays: 400 } })
  const ids = () => db('pushes').orderBy('id').pluck('id')

  const dry = await runPart(retention, { dryRun: true })
  assert.deepEqual(await ids(), [oldest, built, latest, young, main])
  const { deleted } = await runPart(retention)
  assert.deepEqual(deleted, dry.deleted)
  assert.deepEqual(deleted, [
    {
      kind: 'push',
      name: 'acme/web refs/heads/main cccccccccc',
      reason: 'over 400 days ago, and its build is gone',
    },
  ])
  assert.deepEqual(await ids(), [built, latest, young, main])

  await db('builds').delete()
  await db('pushes').update({ created_at: db.raw(`now() - interval '900 days'`) })
  assert.equal((await runPart(retention)).deleted.length, 2)
  assert.deepEqual(await ids(), [latest, main])
  assert.equal((await latestPush(db, appId, MAIN))?.id, main)
})

test('a move that was recorded late is not taken for where the ref stands', async (t) => {
  const { db } = await givenDatabase(t)
  const appId = await givenApp(db, 'web')
  const [first, second] = [await moved(db, appId, 900), await moved(db, appId, 800)]
  await db('pushes').where({ id: first }).update({ seq: 1_000 })
  await runPart(createPushRetention({ db, settings: { buildDays: 400 } }))
  assert.deepEqual(await db('pushes').pluck('id'), [first])
  assert.notEqual(first, second)
})

test('builds that are kept for ever keep the moves of their refs', async (t) => {
  const { db } = await givenDatabase(t)
  const appId = await givenApp(db, 'web')
  for (const days of [900, 800]) await moved(db, appId, days)
  const retention = createPushRetention({ db, settings: { buildDays: undefined } })
  assert.deepEqual((await runPart(retention)).deleted, [])
})

async function givenOrphans(t: TestContext, ownsRegistry = true) {
  const images = await givenImages(t)
  const { db, registry } = images
  const retention = createOrphanImages({ db, registry, ownsRegistry })
  const laterBy = (hours: number) =>
    db('orphan_objects').update({ seen_at: db.raw(`seen_at - ? * interval '1 hour'`, [hours]) })
  return { ...images, retention, laterBy }
}

test('an image whose build the database does not know goes when it is seen again after a day', async (t) => {
  const { db, use, push, built, isThere, retention, laterBy } = await givenOrphans(t)
  await built('acme1')
  for (const repo of ['builds/lost1', 'cache/acme/web', 'apps/acme/web']) await push(repo)
  await use.settled()
  assert.deepEqual((await runPart(retention)).deleted, [])
  await laterBy(23)
  assert.deepEqual((await runPart(retention)).deleted, [])
  await laterBy(2)
  const dry = await runPart(retention, { dryRun: true })
  assert.deepEqual(dry.deleted, [
    { kind: 'orphan', name: 'builds/lost1', reason: 'no build has it' },
  ])
  assert.ok(await isThere('builds/lost1:latest'))
  await use.settled()

  const { deleted, failures } = await runPart(retention)
  assert.deepEqual(failures, [])
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['builds/lost1'],
  )
  assert.equal(await isThere('builds/lost1:latest'), false)
  for (const repo of ['builds/acme1', 'cache/acme/web', 'apps/acme/web']) {
    assert.ok(await isThere(`${repo}:latest`), repo)
  }
  assert.deepEqual(await db('repository_use').where({ repo: 'builds/lost1' }), [])
  await runPart(retention)
  await laterBy(25)
  assert.deepEqual((await runPart(retention)).deleted, [], 'the registry lists it, but it is empty')
})

test('an image whose build is restored within the day stays', async (t) => {
  const { db, push, isThere, retention, laterBy } = await givenOrphans(t)
  const digest = await push('builds/back1')
  await runPart(retention)
  await laterBy(25)
  await givenEnded(db, { id: 'back1', digest })
  assert.deepEqual((await runPart(retention)).deleted, [])
  assert.deepEqual(await db('orphan_objects'), [])
  assert.ok(await isThere('builds/back1:latest'))
})

test('in a registry that other servers may use nothing is taken for lost', async (t) => {
  const { db, push, retention } = await givenOrphans(t, false)
  await push('builds/theirs')
  await runPart(retention)
  assert.deepEqual(await db('orphan_objects'), [])
})
