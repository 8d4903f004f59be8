// What users can say of the queue: priorities, and whose builder disk lies where.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAppStore } from '../../server/apps/store.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { bodyOf } from '../helpers/http.ts'
import { DOCKERFILE, post, tarGzOf } from '../helpers/sources.ts'

test('a build is submitted with a priority, one above the tenant’s range only by an admin', async (t) => {
  const api = await givenApi(t)
  const source = await tarGzOf(DOCKERFILE)
  const submit = async (priority: string, admin = false) => {
    const token = await api.token({ admin })
    const form = post(['source', source], ['priority', priority])
    const reply = await api.call('/builds', { ...form, token })
    return { status: reply.status, body: await bodyOf(reply) }
  }
  assert.equal((await submit('-10')).body.priority, -10)
  assert.equal((await submit('10')).body.priority, 10)
  assert.equal('priority' in (await submit('0')).body, false)
  const refused = await submit('11')
  assert.equal(refused.status, 403)
  assert.equal(refused.body.message, 'missing required scope: build:admin, for a priority above 10')
  const urgent = await submit('20', true)
  assert.equal(urgent.body.priority, 20)
  assert.equal(urgent.body.queue_position, 1)
  for (const wrong of ['21', '-11', 'high']) assert.equal((await submit(wrong, true)).status, 400)
})

test('an app keeps what it says of the queue, and null takes it back', async (t) => {
  const { db } = await givenDatabase(t)
  const store = createAppStore({ db })
  const settings = { priority: -3, supersede: 'queued' as const }
  await store.insert(db, { id: 'app', tenant: 'acme', name: 'web', settings })
  assert.deepEqual((await store.byId('app'))?.settings, settings)
  await store.update('app', { supersede: null })
  assert.deepEqual((await store.byId('app'))?.settings, { priority: -3 })
})

test('a build waits a moment for the worker that has its builder’s disk, and then for nobody', async (t) => {
  const { db } = await givenDatabase(t)
  await setSlots(db, 4)
  const made = await createBuilderStore({ db }).insert(db, {
    tenant: 'acme',
    id: 'ci',
    diskSizeGb: 1,
  })
  const builder = { key: made!.key, id: 'ci', promotes: true }
  await db('builders').update({ generation: 'g', generation_worker: 'near' })
  const { id } = await givenBuild(db, { builder })
  const { id: free } = await givenBuild(db)
  assert.equal((await claimNext(db, 'far'))?.id, free)
  assert.equal(await claimNext(db, 'far'), undefined)
  assert.equal((await claimNext(db, 'near'))?.id, id)

  const late = await givenBuild(db, { builder: await other() })
  await db('builds')
    .where({ id: late.id })
    .update({ queued_at: db.raw(`clock_timestamp() - interval '6 s'`) })
  assert.equal((await claimNext(db, 'far'))?.id, late.id)

  async function other() {
    const second = await createBuilderStore({ db }).insert(db, {
      tenant: 'acme',
      id: 'ci2',
      diskSizeGb: 1,
    })
    await db('builders').where({ id: 'ci2' }).update({ generation_worker: 'near' })
    return { key: second!.key, id: 'ci2', promotes: true }
  }
})
