// Caches that nobody uses any more, on a real registry; and what is known of their use.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createAppStore } from '../../server/apps/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { createRepositoryUse } from '../../server/registry/repository-use.ts'
import { createCacheRetention } from '../../server/retention/caches.ts'
import { forgetApp } from '../../server/retention/removed-app.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { MANIFEST_TYPE } from '../helpers/oci.ts'
import { givenApp, givenEnded, givenImages, runPart } from '../helpers/retention.ts'

async function givenHouse(t: TestContext, cacheDays: number | undefined = 14) {
  const images = await givenImages(t)
  const { db, registry } = images
  const retention = createCacheRetention({ db, registry, settings: { cacheDays } })
  return { ...images, retention }
}

/** A cache was used so many days ago. */
async function used(
  db: Db,
  repo: string,
  days: { seen: number; pulled?: number; pushed?: number },
) {
  const ago = (n: number | undefined) =>
    n === undefined ? null : db.raw(`now() - ? * interval '1 day'`, [n])
  const at = { seen_at: ago(days.seen), pulled_at: ago(days.pulled), pushed_at: ago(days.pushed) }
  await db('repository_use')
    .insert({ repo, ...at })
    .onConflict('repo')
    .merge()
}

test('caches go by their last use, the least recently used first; images are none of its business', async (t) => {
  const { db, push, isThere, retention } = await givenHouse(t)
  const repos = ['cache/acme/a', 'cache/acme/b', 'cache/acme/c/nodejs20', 'cache/global/node']
  for (const repo of [...repos, 'builds/acme1']) await push(repo)
  await used(db, 'cache/acme/a', { seen: 40, pushed: 40, pulled: 15 })
  await used(db, 'cache/acme/b', { seen: 40, pushed: 40, pulled: 13 })
  await used(db, 'cache/acme/c/nodejs20', { seen: 40, pushed: 20 })
  await used(db, 'builds/acme1', { seen: 400 })
  const dry = await runPart(retention, { dryRun: true })
  const { deleted, failures } = await runPart(retention)
  assert.deepEqual(failures, [])
  assert.deepEqual(
    deleted.map(({ name, reason }) => `${name}: ${reason}`),
    ['cache/acme/c/nodejs20: not used for 14 days', 'cache/acme/a: not used for 14 days'],
  )
  assert.ok(deleted.every(({ bytes = 0 }) => bytes > 1000))
  assert.deepEqual(
    dry.deleted.map(({ name }) => name),
    deleted.map(({ name }) => name),
  )
  for (const repo of repos) {
    const stays = repo === 'cache/acme/b' || repo === 'cache/global/node'
    assert.equal(await isThere(`${repo}:latest`), stays, repo)
  }
})

test('a cache that was there before its use was written down gets its time', async (t) => {
  const { db, push, use, registry } = await givenHouse(t)
  await push('cache/acme/old')
  await use.settled()
  await db('repository_use').delete()
  const retention = createCacheRetention({ db, registry, settings: { cacheDays: 14 } })
  assert.deepEqual((await runPart(retention)).deleted, [])
  await db('repository_use').update({ seen_at: db.raw(`now() - interval '15 days'`) })
  assert.deepEqual(
    (await runPart(retention)).deleted.map(({ name }) => name),
    ['cache/acme/old'],
  )
  // The registry goes on listing what is empty now.
  await db('repository_use').update({ seen_at: db.raw(`now() - interval '15 days'`) })
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('the caches of a removed app go with all their runtimes; those that another app shares stay', async (t) => {
  const { db, push, use, isThere, retention } = await givenHouse(t, undefined)
  const mine = ['cache/acme/web', 'cache/acme/web/nodejs20']
  for (const repo of [...mine, 'cache/acme/team', 'cache/acme/api']) await push(repo)
  await use.settled()
  const web = await givenApp(db, 'web')
  const shared = await givenApp(db, 'blog', { cache_scope: 'team' })
  await givenApp(db, 'team')
  const request = { cache_scope: 'web', runtime: 'nodejs20' }
  await givenEnded(db, { appId: web, app: 'web', request })
  const store = createAppStore({ db })
  for (const id of [web, shared]) {
    const app = (await store.byId(id))!
    await db.transaction(async (trx) => {
      await forgetApp(trx, app)
      await store.remove(trx, id)
    })
  }
  const { deleted } = await runPart(retention)
  assert.deepEqual(
    deleted.map(({ name, reason }) => `${name}: ${reason}`),
    mine.map((repo) => `${repo}: its app was removed`),
  )
  assert.equal(await isThere('cache/acme/web:latest'), false)
  assert.equal(await isThere('cache/acme/team:latest'), true)
})

test('the cache of a removed app stays when a new app of that name uses it first', async (t) => {
  const { db, push, use, isThere, retention } = await givenHouse(t)
  const app = (await createAppStore({ db }).byId(await givenApp(db, 'web')))!
  await db.transaction((trx) => forgetApp(trx, app))
  await push('cache/acme/web')
  await use.settled()
  assert.deepEqual((await runPart(retention)).deleted, [])
  assert.equal(await isThere('cache/acme/web:latest'), true)
})

test('uses are written down once in a while, of images and caches that are there', async (t) => {
  const { db, push, use, url, headers } = await givenHouse(t)
  const get = (repo: string, method: string) =>
    fetch(`${url}/v2/${repo}/manifests/latest`, {
      method,
      headers: { ...headers, accept: MANIFEST_TYPE },
    })
  for (const repo of ['cache/acme/web', 'builds/acme1', 'library/base']) await push(repo)
  for (const repo of ['cache/acme/web', 'cache/acme/none', 'library/base']) {
    for (const method of ['GET', 'HEAD', 'GET']) await get(repo, method)
  }
  await use.settled()
  const found = await db('repository_use').orderBy('repo')
  assert.deepEqual(
    found.map((row) => [row.repo, row.pulled_at !== null, row.pushed_at !== null]),
    [
      ['builds/acme1', false, true],
      ['cache/acme/web', true, true],
    ],
  )
  await get('cache/acme/web', 'GET')
  await use.settled()
  assert.deepEqual(await db('repository_use').orderBy('repo'), found, 'not again so soon')
})

test('a use that can’t be written down is tried with the next pull, and fails nobody', async (t) => {
  const { db } = await givenDatabase(t)
  const use = createRepositoryUse({ db, log: silent })
  await db.raw('alter table repository_use rename to elsewhere')
  use.pulled('cache/acme/web')
  await use.settled()
  await db.raw('alter table elsewhere rename to repository_use')
  use.pulled('cache/acme/web')
  await use.settled()
  assert.deepEqual(await db('repository_use').pluck('repo'), ['cache/acme/web'])
})
