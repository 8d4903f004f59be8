// Source archives: which go, and that none goes which a build needs.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createBuildStore } from '../../server/builds/store.ts'
import { createLocalObjects, type StagedObject } from '../../server/objects/objects.ts'
import { createSourceRetention } from '../../server/retention/sources.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { givenApp, givenEnded, runPart, untilSomebodyWaits } from '../helpers/retention.ts'
import { storeObject } from '../helpers/sources.ts'

async function givenHouse(t: TestContext, sourceDays: number | undefined = 7) {
  const { db } = await givenDatabase(t)
  const root = await mkdtemp(join(tmpdir(), 'hm-objects-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const objects = createLocalObjects({ root })
  const retention = createSourceRetention({ db, objects, settings: { sourceDays } })
  const source = async (text: string) => {
    const { key } = await storeObject(objects, asStream(text))
    return { sourceKey: key, sourceBytes: text.length }
  }
  const kept = async () => {
    const keys: string[] = []
    for await (const { key } of objects.list()) keys.push(key)
    return keys.sort()
  }
  return { db, objects, retention, source, kept }
}

async function* asStream(text: string) {
  yield Buffer.from(text)
}

test('the source of a build that ended a while ago goes, that of a younger one and of one that waits stay', async (t) => {
  const { db, retention, source, kept } = await givenHouse(t)
  const [old, young, waits] = [await source('old'), await source('young'), await source('waits')]
  await givenEnded(db, { days: 8, status: 'failed', ...old })
  await givenEnded(db, { days: 6, ...young })
  const { id } = await givenBuild(db, waits)
  await db('builds')
    .where({ id })
    .update({ created_at: db.raw(`now() - interval '9 days'`) })
  const { deleted, totals } = await runPart(retention)
  assert.deepEqual(deleted, [
    { kind: 'source', name: old.sourceKey, reason: 'its builds have ended', bytes: 3 },
  ])
  assert.deepEqual(totals.source, { count: 1, bytes: 3 })
  assert.deepEqual(await kept(), [young.sourceKey, waits.sourceKey].sort())
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('a source that a waiting build shares with an ended one stays until that one has ended as well', async (t) => {
  const { db, retention, source, kept } = await givenHouse(t)
  const shared = await source('shared')
  await givenEnded(db, { days: 30, ...shared })
  const { id } = await givenBuild(db, shared)
  assert.deepEqual((await runPart(retention)).deleted, [])
  assert.deepEqual(await kept(), [shared.sourceKey])
  await db('builds')
    .where({ id })
    .update({ status: 'cancelled', completed_at: db.raw(`now() - interval '8 days'`) })
  await runPart(retention)
  assert.deepEqual(await kept(), [])
})

test('a build that is being queued with a source keeps it from being removed', async (t) => {
  const { db, objects, retention, source, kept } = await givenHouse(t)
  const shared = await source('shared')
  await givenEnded(db, { days: 30, ...shared })
  const staged: StagedObject = await objects.stage(asStream('shared'))
  const trx = await db.transaction()
  const queued = { id: 'queuednow', tenant: 'acme', pusher: 'ada', request: {}, ...shared }
  await createBuildStore({ db }).insert(trx, { ...queued, sourceHash: staged.sha256 })
  await staged.keep()
  const running = runPart(retention)
  await Promise.race([untilSomebodyWaits(db), running])
  await trx.commit()
  assert.deepEqual((await running).deleted, [])
  assert.deepEqual(await kept(), [shared.sourceKey])
})

test('a file that no build knows goes when it is seen again after its grace, not before', async (t) => {
  const { db, retention, source, kept } = await givenHouse(t)
  const orphan = await source('orphan')
  const adopted = await source('adopted')
  assert.deepEqual((await runPart(retention)).deleted, [])
  await givenBuild(db, adopted)
  await db('orphan_objects').update({ seen_at: db.raw(`now() - interval '25 hours'`) })
  const { deleted } = await runPart(retention)
  assert.deepEqual(deleted, [
    { kind: 'orphan', name: orphan.sourceKey, reason: 'no build has it', bytes: 6 },
  ])
  assert.deepEqual(await kept(), [adopted.sourceKey])
  assert.deepEqual(await db('orphan_objects'), [])
})

test('a run that died before the file was removed leaves an orphan, which goes later', async (t) => {
  const { db, retention, source, kept } = await givenHouse(t)
  await givenEnded(db, { days: 30, ...(await source('left')) })
  await db('builds').update({ source_expired_at: db.fn.now() })
  await runPart(retention)
  await db('orphan_objects').update({ seen_at: db.raw(`now() - interval '25 hours'`) })
  await runPart(retention)
  assert.deepEqual(await kept(), [])
})

test('sources that are kept for ever still go with their app', async (t) => {
  const { db, objects, source, kept } = await givenHouse(t)
  const retention = createSourceRetention({ db, objects, settings: { sourceDays: undefined } })
  const upload = await source('upload')
  await givenEnded(db, { days: 900, ...upload })
  const appId = await givenApp(db, 'web')
  await givenEnded(db, { appId, app: 'web', ...(await source('app')) })
  await runPart(retention)
  assert.equal((await kept()).length, 2)
  await db('apps').delete()
  await runPart(retention)
  assert.deepEqual(await kept(), [upload.sourceKey])
})

test('a dry run removes nothing', async (t) => {
  const { db, retention, source, kept } = await givenHouse(t)
  const old = await source('old')
  await givenEnded(db, { days: 8, ...old })
  assert.equal((await runPart(retention, { dryRun: true })).deleted.length, 1)
  assert.deepEqual(await kept(), [old.sourceKey])
  assert.equal((await db('builds').first()).source_expired_at, null)
})
