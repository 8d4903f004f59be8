// What a mirror keeps goes when nobody has asked for it in a while, and is fetched again when somebody does.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Db } from '../../server/db/pool.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { createRepositoryUse } from '../../server/registry/repository-use.ts'
import { createCacheRetention } from '../../server/retention/caches.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { givenHub, givenMirror, HUB } from '../helpers/hub.ts'
import { MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import { bearer, buildToken } from '../helpers/registry.ts'
import { runPart } from '../helpers/retention.ts'

async function givenHouse(t: TestContext) {
  const { db } = await givenDatabase(t)
  const use = createRepositoryUse({ db, log: silent, intervalMs: 0 })
  t.after(() => use.settled())
  const hub = await givenHub(t)
  const house = await givenMirror(t, hub, { use })
  const registry = createRegistryClient({ upstream: house.upstream })
  const retention = createCacheRetention({ db, registry, settings: { cacheDays: 14 } })
  const headers = { ...bearer(await buildToken()), accept: MANIFEST_TYPE }

  /** All of an image, by tag; returns the status of its manifest. */
  async function pull(name: string): Promise<number> {
    const at = `${house.url}/v2/mirror/${HUB}/${name}`
    const reply = await fetch(`${at}/manifests/v1`, { headers })
    const text = await reply.text()
    for (const [digest] of text.matchAll(/sha256:[0-9a-f]{64}/g)) {
      await (await fetch(`${at}/blobs/${digest}`, { headers })).arrayBuffer()
    }
    await use.settled()
    return reply.status
  }

  return { db, use, hub, registry, retention, pull }
}

async function daysGoBy(db: Db, days: number): Promise<void> {
  const before = (column: string) => db.raw(`?? - ? * interval '1 day'`, [column, days])
  await db('repository_use').update({ seen_at: before('seen_at'), pulled_at: before('pulled_at') })
}

test('an image of a mirror that nobody has pulled for a while goes, and is fetched again for the next one', async (t) => {
  const { db, hub, registry, retention, pull } = await givenHouse(t)
  const names = ['library/idle', 'library/busy']
  for (const repo of names) await pushImage({ url: hub.direct, repo, headers: {} }, 'v1')
  for (const name of names) assert.equal(await pull(name), 200)
  const idle = `mirror/${HUB}/library/idle`
  assert.ok(await registry.hasTags(idle))

  await daysGoBy(db, 13)
  await pull('library/busy')
  await daysGoBy(db, 2)
  const { deleted, failures } = await runPart(retention)
  assert.deepEqual(failures, [])
  assert.deepEqual(
    deleted.map(({ name, reason }) => `${name}: ${reason}`),
    [`${idle}: not used for 14 days`],
  )
  assert.equal(await registry.hasTags(idle), false)
  assert.ok(await registry.hasTags(`mirror/${HUB}/library/busy`))

  const fetched = () => hub.count(/GET \/v2\/library\/idle\/manifests/)
  const before = fetched()
  assert.equal(await pull('library/idle'), 200)
  assert.ok(fetched() > before)
  assert.ok(await registry.hasTags(idle))
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('what a mirror kept before its use was written down gets its time', async (t) => {
  const { db, hub, retention, pull } = await givenHouse(t)
  await pushImage({ url: hub.direct, repo: 'library/old', headers: {} }, 'v1')
  await pull('library/old')
  await db('repository_use').delete()
  assert.deepEqual((await runPart(retention)).deleted, [])
  await daysGoBy(db, 15)
  assert.equal((await runPart(retention)).deleted.length, 1)
})

test('asking a mirror for what there is not leaves no row behind', async (t) => {
  const { db, pull } = await givenHouse(t)
  assert.equal(await pull('library/none'), 404)
  assert.deepEqual(await db('repository_use'), [])
})
