// /builders over a real database: whose they are, when they may go, which one a build gets.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi, type TestApi, type TestApiOptions } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { publicClient } from '../helpers/public-client.ts'
import { DOCKERFILE, tarGzOf } from '../helpers/sources.ts'

interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  body: any
}

async function givenBuilders(t: TestContext, options: TestApiOptions = {}) {
  const api = await givenApi(t, options)
  const token = await api.token()
  const call = async (method: string, path: string, body?: unknown, as = token) => {
    const answer = await fetch(`${api.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${as}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    return { status: answer.status, body: text && JSON.parse(text) } as Answer
  }
  return { api, token, call }
}

async function submit({ url }: TestApi, token: string, fields: Record<string, string>) {
  const form = new FormData()
  form.set('source', new Blob([new Uint8Array(await tarGzOf(DOCKERFILE))]), 'source.tar.gz')
  for (const [name, value] of Object.entries(fields)) form.set(name, value)
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(`${url}/builds`, { method: 'POST', headers, body: form })
  return { status: answer.status, body: await answer.json() } as Answer
}

test('the public client makes, lists, gets, prunes and deletes a builder', async (t) => {
  const { api, token } = await givenBuilders(t)
  const client = publicClient(api.url, token)
  const made = await client.builders.create({ id: 'ci', disk_size_gb: 5, tags: { team: 'web' } })
  assert.equal(made.status, 'ready')
  assert.equal(made.max_concurrency, 1)
  assert.equal(made.disk_size_gb, 5)
  assert.equal((made as { disk_used_bytes?: number }).disk_used_bytes, 0)
  assert.deepEqual(made.queued_builds, [])
  const other = await client.builders.create({ name: 'Second of two' })
  assert.match(other.id, /^[a-z0-9]{24}$/)
  const ids = (await client.builders.list()).map(({ id }) => id)
  assert.deepEqual(ids, ['ci', other.id])
  assert.deepEqual(
    (await client.builders.list({ tags: { team: 'web' } })).map(({ id }) => id),
    ['ci'],
  )
  assert.equal((await client.builders.get(other.id)).name, 'Second of two')
  assert.equal((await client.builders.prune('ci')).status, 'pruning')
  await client.builders.delete('ci')
  await assert.rejects(client.builders.get('ci'), { status: 404 })
})

test('an id that is taken, reserved or no id is refused, and so is one builder too many', async (t) => {
  const { call } = await givenBuilders(t, { buildersMax: 1 })
  assert.equal((await call('POST', '/builders', { id: 'default' })).status, 400)
  assert.equal((await call('POST', '/builders', { id: '../x' })).status, 400)
  assert.equal((await call('POST', '/builders', { disk_size_gb: 100_000 })).status, 400)
  assert.equal((await call('POST', '/builders', { id: 'one' })).status, 201)
  const many = await call('POST', '/builders', { id: 'two' })
  assert.deepEqual([many.status, many.body.code], [409, 'conflict'])
  const { call: roomy } = await givenBuilders(t)
  await roomy('POST', '/builders', { id: 'one' })
  assert.equal((await roomy('POST', '/builders', { id: 'one' })).body.code, 'already_exists')
})

test("another tenant's builder is as unknown as one that never was", async (t) => {
  const { api, call } = await givenBuilders(t)
  await call('POST', '/builders', { id: 'ci' })
  const eve = await api.token({ sub: 'eve', tenant: 'globex' })
  for (const [method, path] of [
    ['GET', '/builders/ci'],
    ['DELETE', '/builders/ci'],
    ['POST', '/builders/ci/prune'],
  ] as const) {
    assert.equal((await call(method, path, undefined, eve)).status, 404, path)
  }
  assert.deepEqual((await call('GET', '/builders', undefined, eve)).body, [])
  assert.equal((await submit(api, eve, { builder_id: 'ci' })).status, 404)
  // The same id is free for her.
  assert.equal((await call('POST', '/builders', { id: 'ci' }, eve)).status, 201)
})

test('an admin sees, empties and deletes builders of another tenant by naming it', async (t) => {
  const { api, call } = await givenBuilders(t)
  await call('POST', '/builders', { id: 'ci' })
  const root = await api.token({ sub: 'root', tenant: 'ops', admin: true })
  const eve = await api.token({ sub: 'eve', tenant: 'globex' })
  const tenant = '?tenant=acme'
  assert.deepEqual((await call('GET', '/builders', undefined, root)).body, [])
  const { body } = await call('GET', `/builders${tenant}`, undefined, root)
  assert.deepEqual(
    body.map(({ id }: { id: string }) => id),
    ['ci'],
  )
  assert.equal((await call('GET', `/builders/ci${tenant}`, undefined, root)).body.id, 'ci')
  assert.equal((await call('GET', '/builders/ci', undefined, root)).status, 404)
  const refused = await call('GET', `/builders${tenant}`, undefined, eve)
  assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden'])
  for (const [method, path] of [
    ['GET', '/builders/ci'],
    ['POST', '/builders/ci/prune'],
    ['DELETE', '/builders/ci'],
  ] as const) {
    assert.equal((await call(method, path + tenant, undefined, eve)).status, 404, path)
  }
  const pruned = await call('POST', `/builders/ci/prune${tenant}`, undefined, root)
  assert.deepEqual([pruned.status, pruned.body.status], [202, 'pruning'])
  assert.equal((await call('DELETE', `/builders/ci${tenant}`, undefined, root)).status, 204)
  assert.equal((await call('GET', '/builders/ci')).status, 404)
})

test('a disk that could never have room on this host is refused, and says how large one may be', async (t) => {
  const { api, call } = await givenBuilders(t, { builderDisksMaxGb: 10 })
  const { status, body } = await call('POST', '/builders', { id: 'ci', disk_size_gb: 6 })
  assert.deepEqual([status, body.code], [400, 'invalid_request'])
  assert.match(body.message, /disk_size_gb=6: must be at most 5, .*BUILDER_DISKS_MAX_GB/)
  assert.equal((await call('POST', '/builders', { id: 'ci' })).body.disk_size_gb, 5)
  await call('POST', '/apps', { name: 'web' })
  const [app] = await api.db('apps').where({ name: 'web' })
  const used = await api.builders.ofApp(api.db, app, { promotes: true })
  assert.equal((await call('GET', `/builders/${used!.id}`)).body.disk_size_gb, 5)
})

test('each permission opens its own routes', async (t) => {
  const { api, call } = await givenBuilders(t)
  await call('POST', '/builders', { id: 'ci' })
  const as = (permission: string) => api.token({ permissions: [permission] })
  const reader = await as('builder:read')
  assert.equal((await call('GET', '/builders/ci', undefined, reader)).status, 200)
  assert.equal((await call('POST', '/builders/ci/prune', undefined, reader)).status, 403)
  assert.equal((await call('DELETE', '/builders/ci', undefined, reader)).status, 403)
  assert.equal((await call('POST', '/builders', {}, reader)).status, 403)
  assert.equal(
    (await call('DELETE', '/builders/ci', undefined, await as('build:delete'))).status,
    403,
  )
  assert.equal(
    (await call('DELETE', '/builders/ci', undefined, await as('builder:delete'))).status,
    204,
  )
})

test('a build says which builder it uses, and the builder which builds it has', async (t) => {
  const { api, token, call } = await givenBuilders(t)
  await setSlots(api.db, 2)
  await call('POST', '/builders', { id: 'ci' })
  const first = (await submit(api, token, { builder_id: 'ci' })).body
  const second = (await submit(api, token, { builder_id: 'ci' })).body
  assert.equal(first.builder_id, 'ci')
  assert.deepEqual((await call('GET', '/builders/ci')).body.queued_builds, [first.id, second.id])
  const claimed = await claimNext(api.db, 'w')
  assert.equal(claimed?.id, first.id)
  assert.equal(claimed?.builderPromotes, true)
  const { body } = await call('GET', '/builders/ci')
  assert.equal(body.active_build_id, first.id)
  assert.deepEqual(body.queued_builds, [second.id])
  assert.ok(body.last_used_at)
})

test('weakness 31: a builder in use can be neither deleted nor pruned, and says by whom', async (t) => {
  const { api, token, call } = await givenBuilders(t)
  await setSlots(api.db, 1)
  await call('POST', '/builders', { id: 'ci' })
  const { id } = (await submit(api, token, { builder_id: 'ci' })).body
  const waits = await call('DELETE', '/builders/ci')
  assert.equal(waits.status, 409)
  assert.match(waits.body.message, new RegExp(id))
  const claimed = await claimNext(api.db, 'w')
  for (const [method, path] of [
    ['DELETE', '/builders/ci'],
    ['POST', '/builders/ci/prune'],
  ] as const) {
    const { status, body } = await call(method, path)
    assert.deepEqual([status, body.code], [409, 'conflict'])
    assert.match(body.message, new RegExp(`in use by build ${id}`))
  }
  const lease = createLease({ db: api.db, buildId: id, token: claimed!.leaseToken })
  await lease.fail({ failureClass: 'build', error: 'no' })
  assert.equal('active_build_id' in (await call('GET', '/builders/ci')).body, false)
  assert.equal((await call('DELETE', '/builders/ci')).status, 204)
  // What it has built stays, and says so.
  assert.equal((await call('GET', `/builds/${id}`)).body.builder_id, 'ci')
})

test('an app gets a builder of its own with its first build; nobody else may name it', async (t) => {
  const { api, token, call } = await givenBuilders(t)
  await call('POST', '/apps', { name: 'web' })
  const [app] = await api.db('apps').where({ name: 'web' })
  const web = { id: app.id, name: 'web', tenant: app.tenant }
  const use = (more: object, promotes = true) =>
    api.db.transaction((trx) => api.builders.ofApp(trx, { ...web, ...more }, { promotes }))
  const [one, two] = await Promise.all([use({}), use({})])
  assert.deepEqual(one, two)
  assert.equal(one?.promotes, true)
  assert.equal((await use({}, false))?.promotes, false)
  assert.equal(await use({ builder: 'off' }), undefined)
  assert.equal(await use({ builder: 'never-made' }), undefined)
  await call('POST', '/builders', { id: 'shared' })
  assert.equal((await use({ builder: 'shared' }))?.id, 'shared')
  const { body } = await call('GET', '/builders')
  assert.deepEqual(
    body.map(({ name, id }: { name?: string; id: string }) => name ?? id),
    ['web', 'shared'],
  )
  assert.equal((await submit(api, token, { builder_id: one!.id })).status, 409)
  assert.equal((await call('DELETE', '/apps/web')).status, 204)
  assert.equal((await call('GET', `/builders/${one!.id}`)).status, 404)
})

test("an app's setting names a builder, default or off", async (t) => {
  const { call } = await givenBuilders(t)
  await call('POST', '/apps', { name: 'web', builder: 'off' })
  assert.equal((await call('GET', '/apps/web')).body.builder, 'off')
  assert.equal((await call('PATCH', '/apps/web', { builder: 'ci' })).body.builder, 'ci')
  assert.equal((await call('PATCH', '/apps/web', { builder: 'a b' })).status, 400)
  assert.equal('builder' in (await call('PATCH', '/apps/web', { builder: null })).body, false)
})

test('builds of a builder that is pruned wait until it is ready', async (t) => {
  const { api, call } = await givenBuilders(t)
  await setSlots(api.db, 1)
  await call('POST', '/builders', { id: 'ci' })
  const [{ key, tenant }] = await api.db('builders').where({ id: 'ci' })
  await givenBuild(api.db, { tenant, builder: { key, id: 'ci', promotes: true } })
  await call('POST', '/builders/ci/prune')
  assert.equal(await claimNext(api.db, 'w'), undefined)
  await api.db('builders').where({ key }).update({ status: 'ready' })
  assert.ok(await claimNext(api.db, 'w'))
})
