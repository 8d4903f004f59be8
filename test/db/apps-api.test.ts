// /apps over real rows: whose they are, their settings, and that row and repository live and die together.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Principal } from '../../server/auth/principal.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf, jsonBody } from '../helpers/http.ts'

function principal(overrides: Partial<Principal> = {}): Principal {
  return {
    user: 'ada',
    tenant: 'acme',
    admin: false,
    permissions: undefined,
    jti: 'test',
    ...overrides,
  }
}

test('an app is made with its repository and shown with its defaults', async (t) => {
  const { call, url, repositories, apps } = await givenApi(t)
  const reply = await call('/apps', jsonBody('POST', { name: 'web' }))
  assert.equal(reply.status, 201)
  const app = await bodyOf(reply)
  assert.deepEqual(
    { ...app, created_at: 0, updated_at: 0 },
    {
      name: 'web',
      tenant: 'acme',
      git_url: `${url}/acme/web.git`,
      deploy_branches: ['main', 'master'],
      created_at: 0,
      updated_at: 0,
    },
  )
  assert.ok(Math.abs(Date.parse(app.created_at) - Date.now()) < 60_000)
  assert.deepEqual(await bodyOf(await call('/apps/web')), app)
  assert.deepEqual(await bodyOf(await call('/apps')), [app])
  const [stored] = await apps.all()
  assert.deepEqual(await repositories.ids(), [stored!.id])
})

test('settings are stored as given, replaced one by one, and null takes one back', async (t) => {
  const { call, apps } = await givenApi(t)
  const settings = {
    deploy_branches: ['release/1.x', 'main'],
    dockerfile_path: 'docker/Dockerfile',
    target: 'prod',
    build_args: { VERSION: '1,2\n"3"' },
    policy: { timeout_seconds: 60, memory_mb: 1024, cpus: 1, network_mode: 'isolated' },
    cache_scope: 'team-web',
    branch_policy: 'reject',
    gate: true,
  }
  const made = await bodyOf(await call('/apps', jsonBody('POST', { name: 'web', ...settings })))
  const { name: _n, tenant: _t, git_url: _g, created_at: _c, updated_at: _u, ...shown } = made
  assert.deepEqual(shown, settings)
  const change = { policy: { cpus: 2 }, target: null, deploy_branches: null }
  const changed = await bodyOf(await call('/apps/web', jsonBody('PATCH', change)))
  assert.deepEqual(changed.policy, { cpus: 2 })
  assert.equal('target' in changed, false)
  assert.deepEqual(changed.deploy_branches, ['main', 'master'])
  assert.equal(changed.cache_scope, 'team-web')
  assert.ok(changed.updated_at > made.updated_at)
  const [app] = await apps.all()
  assert.deepEqual(app?.settings, {
    dockerfilePath: 'docker/Dockerfile',
    buildArgs: { VERSION: '1,2\n"3"' },
    policy: { cpus: 2 },
    cacheScope: 'team-web',
    branchPolicy: 'reject',
    gate: true,
  })
})

test('changes of different settings at the same time are all kept', async (t) => {
  const { call } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  const changes = [
    { target: 'prod' },
    { cache_scope: 'abc' },
    { dockerfile_path: 'D' },
    { policy: { cpus: 3 } },
  ]
  await Promise.all(changes.map((change) => call('/apps/web', jsonBody('PATCH', change))))
  const app = await bodyOf(await call('/apps/web'))
  for (const change of changes) {
    for (const [name, value] of Object.entries(change)) assert.deepEqual(app[name], value)
  }
})

test('what is not valid is refused with field and value, and makes nothing', async (t) => {
  const { call, repositories } = await givenApi(t)
  const cases: [object, RegExp][] = [
    [{ name: 'Web' }, /^body name="Web": must be 1 to 63 lower-case/],
    [{ name: '-a' }, /^body name="-a"/],
    [{ name: 'a'.repeat(64) }, /^body name="aaa/],
    [{}, /^body name is missing/],
    [
      { name: 'web', deploy_branches: ['a..b'] },
      /^body deploy_branches\.0="a\.\.b": must be a branch/,
    ],
    [{ name: 'web', deploy_branches: ['a', 'a'] }, /must not name a branch twice/],
    [{ name: 'web', deploy_branches: [] }, /^body deploy_branches=\[\]/],
    [{ name: 'web', dockerfile_path: '../x' }, /^body dockerfile_path="\.\.\/x"/],
    [{ name: 'web', policy: { cpus: 99 } }, /^body policy\.cpus=99: /],
    [{ name: 'web', policy: { network_mode: 'host' } }, /^body policy\.network_mode="host"/],
    [{ name: 'web', build_args: { BUILDKIT_SYNTAX: 'x' } }, /BUILDKIT_\* is reserved/],
    [{ name: 'web', cache_scope: 'global/x' }, /^body cache_scope="global\/x"/],
    [{ name: 'web', gate: 'yes' }, /^body gate="yes": /],
    [{ name: 'web', branch_policy: 'maybe' }, /^body branch_policy="maybe": /],
    [{ name: 'web', doors: true }, /^body doors=true: is not known here/],
  ]
  for (const [body, message] of cases) {
    const reply = await call('/apps', jsonBody('POST', body))
    const error = await bodyOf(reply)
    assert.equal(reply.status, 400, JSON.stringify(body))
    assert.equal(error.code, 'invalid_request')
    assert.match(error.message, message)
  }
  assert.deepEqual(await bodyOf(await call('/apps')), [])
  assert.deepEqual(await repositories.ids(), [])
})

test('another tenant’s app is as unknown as one that never was, and its name is free', async (t) => {
  const { call, token } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  const other = await token({ sub: 'bob', tenant: 'other' })
  const attempts: [string, RequestInit][] = [
    ['/apps/web', {}],
    ['/apps/web', jsonBody('PATCH', { target: 'x' })],
    ['/apps/web', { method: 'DELETE' }],
    ['/apps/web?tenant=acme', {}],
    ['/apps/web?tenant=acme', { method: 'DELETE' }],
  ]
  for (const [path, init] of attempts) {
    const reply = await call(path, { ...init, token: other })
    assert.equal(reply.status, 404, path)
    assert.deepEqual(await bodyOf(reply), { code: 'not_found', message: 'app not found' })
  }
  assert.deepEqual(await bodyOf(await call('/apps', { token: other })), [])
  assert.equal((await call('/apps?tenant=acme', { token: other })).status, 403)
  const made = await call('/apps', { ...jsonBody('POST', { name: 'web' }), token: other })
  assert.equal(made.status, 201)
  assert.equal((await call('/apps', jsonBody('POST', { name: 'web' }))).status, 409)
})

test('an admin reaches every tenant by naming it, and only then', async (t) => {
  const { call, token } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  const admin = await token({ sub: 'root', tenant: 'operators', admin: true })
  assert.equal((await call('/apps/web', { token: admin })).status, 404)
  const seen = await bodyOf(await call('/apps/web?tenant=acme', { token: admin }))
  assert.equal(seen.tenant, 'acme')
  assert.equal((await bodyOf(await call('/apps?tenant=acme', { token: admin }))).length, 1)
  const made = await call('/apps?tenant=acme', {
    ...jsonBody('POST', { name: 'api' }),
    token: admin,
  })
  assert.equal((await bodyOf(made)).tenant, 'acme')
  assert.equal((await call('/apps/api')).status, 200)
})

test('a repository that cannot be made leaves no app, and none is left half made', async (t) => {
  const { call, repositories } = await givenApi(t)
  repositories.failNext()
  assert.equal((await call('/apps', jsonBody('POST', { name: 'web' }))).status, 500)
  assert.deepEqual(await bodyOf(await call('/apps')), [])
  assert.deepEqual(await repositories.ids(), [])
  assert.equal((await call('/apps', jsonBody('POST', { name: 'web' }))).status, 201)
})

test('a repository that cannot be removed keeps its app, so that the next attempt ends the work', async (t) => {
  const { call, repositories } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  repositories.failNext()
  assert.equal((await call('/apps/web', { method: 'DELETE' })).status, 500)
  assert.equal((await call('/apps/web')).status, 200)
  assert.equal((await call('/apps/web', { method: 'DELETE' })).status, 204)
  assert.equal((await call('/apps/web')).status, 404)
  assert.deepEqual(await repositories.ids(), [])
})

test('an app with a build under way cannot be removed; afterwards it can, and the build stays', async (t) => {
  const { call, db, apps } = await givenApi(t)
  await call('/apps', jsonBody('POST', { name: 'web' }))
  const [app] = await apps.all()
  const { id } = await givenBuild(db, { appId: app!.id, app: 'web' })
  const refused = await call('/apps/web', { method: 'DELETE' })
  assert.equal(refused.status, 409)
  assert.match((await bodyOf(refused)).message, new RegExp(`build under way \\(${id}\\)`))
  await transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })
  assert.equal((await call('/apps/web', { method: 'DELETE' })).status, 204)
  const build = await bodyOf(await call(`/builds/${id}`))
  assert.equal(build.app, 'web')
  assert.equal(build.status, 'cancelled')
})

test('a build that is being queued while its app is removed: one of the two loses, never both win', async (t) => {
  const { call, db, apps } = await givenApi(t)
  for (let round = 0; round < 8; round += 1) {
    const name = `web${round}`
    await call('/apps', jsonBody('POST', { name }))
    const app = (await apps.all()).find((each) => each.name === name)!
    const [removed, queued] = await Promise.all([
      call(`/apps/${name}`, { method: 'DELETE' }),
      givenBuild(db, { appId: app.id, app: name }).catch(() => undefined),
    ])
    assert.equal(removed.status, queued ? 409 : 204)
  }
})

test('permissions: reading, writing and deleting apps are separate', async (t) => {
  const { call, token } = await givenApi(t)
  const reader = await token({ permissions: ['app:read'] })
  const writer = await token({ permissions: ['app:write'] })
  const create = jsonBody('POST', { name: 'web' })
  assert.equal((await call('/apps', { ...create, token: reader })).status, 403)
  assert.equal((await call('/apps', { ...create, token: writer })).status, 201)
  assert.equal((await call('/apps/web', { token: writer })).status, 403)
  assert.equal((await call('/apps/web', { token: reader })).status, 200)
  const refused = await call('/apps/web', { method: 'DELETE', token: writer })
  assert.equal((await bodyOf(refused)).message, 'missing required scope: app:delete')
})

test('the first push makes the app once, however many come at the same time', async (t) => {
  const { apps, repositories } = await givenApi(t)
  const made = await Promise.all(
    Array.from({ length: 6 }, () => apps.createForPush(principal(), { name: 'web' })),
  )
  assert.equal(new Set(made.map((app) => app.id)).size, 1)
  assert.deepEqual(await repositories.ids(), [made[0]!.id])
  assert.equal((await apps.findForGit(principal(), { name: 'web' }))?.id, made[0]!.id)
  assert.equal((await apps.byId(made[0]!.id))?.name, 'web')
})

test('a push may only make an app in its own tenant, with both permissions and a valid name', async (t) => {
  const { apps } = await givenApi(t)
  const create = (who: Partial<Principal>, name: string, tenant?: string) =>
    apps.createForPush(principal(who), { name, tenant })
  await assert.rejects(create({ permissions: new Set(['build:write']) }, 'web'), {
    code: 'forbidden',
    message: 'missing required scope: app:write',
  })
  await assert.rejects(create({ permissions: new Set(['app:write']) }, 'web'), {
    message: 'missing required scope: build:write',
  })
  await assert.rejects(create({}, 'web', 'other'), { code: 'not_found' })
  await assert.rejects(create({}, 'Web'), { code: 'invalid_request', message: /"Web"/ })
  assert.equal(await apps.findForGit(principal(), { name: '../etc' }), null)
  assert.equal(await apps.findForGit(principal(), { name: 'web', tenant: 'other' }), null)
  assert.equal((await create({ admin: true }, 'web', 'other')).tenant, 'other')
})
