// DELETE /apps/{name}/cache: which repositories are emptied, and by whom.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { AppError } from '../../server/errors.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf, jsonBody } from '../helpers/http.ts'

const DELETE = { method: 'DELETE' }

async function givenApp(t: TestContext, settings: object = {}) {
  const emptied: string[] = []
  const api = await givenApi(t, {
    deleteTags: async (repository) => {
      emptied.push(repository)
    },
  })
  await api.call('/apps', jsonBody('POST', { name: 'web', ...settings }))
  return { ...api, emptied }
}

test('the scope of the app is emptied, with each runtime its builds had', async (t) => {
  const { call, db, emptied } = await givenApp(t)
  await givenBuild(db, { request: { cache_scope: 'web', runtime: 'nodejs20' } })
  await givenBuild(db, { request: { cache_scope: 'web', runtime: 'nodejs20' } })
  await givenBuild(db, { request: { cache_scope: 'other-scope', runtime: 'python312' } })
  await givenBuild(db, { tenant: 'other', request: { cache_scope: 'web', runtime: 'go-1' } })
  assert.equal((await call('/apps/web/cache', DELETE)).status, 204)
  assert.deepEqual(emptied, ['cache/acme/web', 'cache/acme/web/nodejs20'])
})

test('the app’s own builder forgets what it holds, that of another app does not', async (t) => {
  const { call, db } = await givenApp(t)
  await call('/apps', jsonBody('POST', { name: 'other' }))
  const apps = await db('apps').orderBy('name', 'desc').select('id', 'name')
  const same = { tenant: 'acme', disk_size_gb: 1, generation: 'b-1', generation_worker: 'w' }
  for (const { id, name } of apps) {
    await db('builders').insert({ ...same, key: name, id: name, name, app_id: id })
  }
  assert.equal((await call('/apps/web/cache', DELETE)).status, 204)
  const left = await db('builders').orderBy('key').select('key', 'generation', 'status')
  assert.deepEqual(left, [
    { key: 'other', generation: 'b-1', status: 'ready' },
    { key: 'web', generation: null, status: 'pruning' },
  ])
})

test('a scope that the app was given is the one that is emptied', async (t) => {
  const { call, emptied } = await givenApp(t, { cache_scope: 'team-web' })
  assert.equal((await call('/apps/web/cache', DELETE)).status, 204)
  assert.deepEqual(emptied, ['cache/acme/team-web'])
})

test('nobody else empties it, and not without app:write', async (t) => {
  const { call, token, emptied } = await givenApp(t)
  const stranger = await token({ sub: 'eve', tenant: 'other' })
  assert.equal((await call('/apps/web/cache', { ...DELETE, token: stranger })).status, 404)
  assert.equal((await call('/apps/none/cache', DELETE)).status, 404)
  const reader = await token({ sub: 'ada', tenant: 'acme', permissions: ['app:read'] })
  assert.equal((await call('/apps/web/cache', { ...DELETE, token: reader })).status, 403)
  assert.deepEqual(emptied, [])
})

test('a registry that is away is said, not passed over', async (t) => {
  const api = await givenApi(t, {
    deleteTags: () => Promise.reject(new AppError('registry_unavailable', 'no registry')),
  })
  await api.call('/apps', jsonBody('POST', { name: 'web' }))
  const reply = await api.call('/apps/web/cache', DELETE)
  assert.equal(reply.status, 503)
  assert.equal((await bodyOf(reply)).code, 'registry_unavailable')
})
