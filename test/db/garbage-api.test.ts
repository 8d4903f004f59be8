// POST /admin/garbage, and the collection by itself.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { garbageRoutes } from '../../server/garbage/routes.ts'
import { createGarbage, type GarbageOptions } from '../../server/garbage/service.ts'
import { createMetrics } from '../../server/telemetry/metrics.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { blobsOnDisk, imageOf, NO_GRACE, pullAll, pushManifest } from '../helpers/garbage.ts'
import { givenHttp } from '../helpers/http.ts'
import { pushBlob, pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

async function givenGarbage(t: TestContext, more: Partial<GarbageOptions> = {}) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const { db } = await givenDatabase(t)
  const metrics = createMetrics({ log: silent })
  t.after(() => metrics.stop())
  const { ran: onRun } = metrics.garbage
  const garbage = createGarbage({ db, upstream, log: silent, graces: NO_GRACE, onRun, ...more })
  t.after(() => garbage.stop())
  const headers = bearer(await registryAdmin())
  return { db, upstream, metrics, garbage, target: { url, repo: 'apps/acme/web', headers } }
}

test('an operator collects and is told what it freed and for how long writes were held', async (t) => {
  const { upstream, garbage, target, metrics } = await givenGarbage(t)
  await pushImage(target, 'main')
  const lost = await pushBlob(target, Buffer.alloc(5_000, 'lost'))
  const face = await givenHttp(t, () => garbageRoutes({ garbage }))
  const token = await face.token({ admin: true })
  const reply = await face.call('/admin/garbage', { method: 'POST', token })
  assert.equal(reply.status, 200)
  const done = (await reply.json()) as Record<string, number>
  const { stall_ms: stall = 0, stall_max_ms: longest = 0, ...counts } = done
  assert.deepEqual(counts, {
    repositories: 1,
    skipped: 0,
    manifests_removed: 0,
    links_removed: 1,
    uploads_removed: 0,
    blobs_before: 4,
    blobs_after: 3,
    bytes_freed: 5_000,
  })
  assert.ok(stall >= longest && longest > 0)
  assert.ok(!(await blobsOnDisk(upstream)).has(lost))
  await pullAll(target, 'main')
  const text = await metrics.prometheus()
  assert.match(text, /hypeman_garbage_runs_total\{outcome="done"\} 1/)
  assert.match(text, /hypeman_garbage_freed_bytes_total 5000/)
  assert.match(text, /hypeman_garbage_stall_seconds_count 1/)
})

test('only operators collect, and only in a registry of this server', async (t) => {
  const api = await givenApi(t)
  const post = { method: 'POST' }
  assert.equal((await api.call('/admin/garbage', post)).status, 403)
  const all = await api.token({ permissions: ['*'] })
  assert.equal((await api.call('/admin/garbage', { ...post, token: all })).status, 403)
  const token = await api.token({ permissions: ['registry:admin'] })
  const reply = await api.call('/admin/garbage', { ...post, token })
  assert.equal(reply.status, 409)
  assert.match(await reply.text(), /"conflict".*REGISTRY_URL/)
})

test('while one is under way a second one is refused', async (t) => {
  const { upstream, garbage, target } = await givenGarbage(t)
  await pushBlob(target, Buffer.from('lost'))
  let open = () => {}
  const held = upstream.gate.enter()
  const first = garbage.run()
  await assert.rejects(garbage.run(), { code: 'conflict' })
  open = await held
  open()
  assert.equal((await first).links, 1)
  assert.equal((await garbage.run()).links, 0)
})

test('what a build that still runs has pushed stays, tagged or not; that of an ended one goes', async (t) => {
  const { db, upstream, garbage, target } = await givenGarbage(t)
  const build = await givenBuild(db)
  const running = { ...target, repo: `builds/${build.id}` }
  const text = imageOf(Buffer.from('{}'), [])
  await pushBlob(running, Buffer.from('{}'))
  const digest = await pushManifest(running, text)
  await garbage.run()
  await pullAll(running, digest)
  await db('builds')
    .where({ id: build.id })
    .update({ status: 'cancelled', completed_at: new Date() })
  assert.equal((await garbage.run()).manifests, 1)
  assert.equal((await blobsOnDisk(upstream)).size, 0)
})

test('little room on the disk starts one collection, not one after the other', async (t) => {
  let runs = 0
  const onRun = () => {
    runs += 1
  }
  const { garbage } = await givenGarbage(t, { onRun })
  do {
    garbage.onLowDisk()
    await sleep(10)
  } while (runs === 0)
  for (let n = 0; n < 20; n += 1) {
    garbage.onLowDisk()
    await sleep(10)
  }
  assert.equal(runs, 1)
})

test('one that is under way ends with the server, and the next one goes on', async (t) => {
  const { db, upstream, garbage, target } = await givenGarbage(t)
  for (let n = 0; n < 5; n += 1) await pushBlob(target, Buffer.from(`lost ${n}`))
  const first = garbage.run()
  await Promise.all([garbage.stop(), assert.rejects(first, /the server stops/)])
  const next = createGarbage({ db, upstream, log: silent, graces: NO_GRACE })
  await next.run()
  assert.equal((await blobsOnDisk(upstream)).size, 0)
})
