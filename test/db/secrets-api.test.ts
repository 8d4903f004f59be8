// Secrets of apps over real rows: set, listed by name, removed; a value is nowhere but in the build's hands.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { APP_SECRETS_MAX, SECRET_BYTES_MAX } from '../../server/limits.ts'
import { createAppSecrets } from '../../server/secrets/app-secrets.ts'
import { createSecretCipher } from '../../server/secrets/cipher.ts'
import { createSecretStore } from '../../server/secrets/store.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { bodyOf, jsonBody } from '../helpers/http.ts'

const VALUE = 'hunter2-in-the-clear'

async function givenApp(t: Parameters<typeof givenApi>[0]): Promise<TestApi> {
  const api = await givenApi(t)
  assert.equal((await api.call('/apps', jsonBody('POST', { name: 'web' }))).status, 201)
  return api
}

test('weakness 8: a secret is set, replaced, listed by name and removed; no reply and no row holds it', async (t) => {
  const { call, db } = await givenApp(t)
  const seen: string[] = []
  const say = async (path: string, init?: RequestInit) => {
    const reply = await call(path, init)
    const text = await reply.text()
    seen.push(text, JSON.stringify([...reply.headers]))
    return { status: reply.status, body: text === '' ? undefined : JSON.parse(text) }
  }
  const made = await say('/apps/web/secrets/npm_token', jsonBody('PUT', { value: VALUE }))
  assert.equal(made.status, 201)
  assert.deepEqual(Object.keys(made.body), ['id', 'created_at', 'updated_at'])
  const again = await say('/apps/web/secrets/npm_token', jsonBody('PUT', { value: VALUE }))
  assert.equal(again.status, 200)
  assert.equal(again.body.created_at, made.body.created_at)
  const bytes = { value_base64: Buffer.from(VALUE).toString('base64') }
  assert.equal((await say('/apps/web/secrets/a.key', jsonBody('PUT', bytes))).status, 201)
  const listed = await say('/apps/web/secrets')
  assert.deepEqual(
    listed.body.map(({ id }: { id: string }) => id),
    ['a.key', 'npm_token'],
  )
  assert.equal((await say('/apps/web/secrets/npm_token')).status, 405)
  const { rows } = await db.raw(
    `select app_secrets::text as text, sealed, apps::text as app from app_secrets, apps`,
  )
  assert.equal(rows.length, 2)
  for (const row of rows) {
    assert.ok(!row.sealed.includes(VALUE))
    seen.push(row.text, row.app)
  }
  const forms = ['utf8', 'hex', 'base64'].map((form) =>
    Buffer.from(VALUE).toString(form as BufferEncoding),
  )
  for (const text of seen) for (const form of forms) assert.ok(!text.includes(form), text)
  assert.equal((await say('/apps/web/secrets/npm_token', { method: 'DELETE' })).status, 204)
  const gone = await say('/apps/web/secrets/npm_token', { method: 'DELETE' })
  assert.deepEqual([gone.status, gone.body.message], [404, 'secret not found'])
  assert.equal((await say('/apps/web/secrets')).body.length, 1)
})

test('weakness 8: a refused value is not quoted in the answer', async (t) => {
  const { call } = await givenApp(t)
  const long = `${VALUE}${'x'.repeat(SECRET_BYTES_MAX)}`
  const put = (body: string) =>
    call('/apps/web/secrets/npm_token', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body,
    })
  const bodies = [
    JSON.stringify({ value: long }),
    JSON.stringify({ value: [VALUE] }),
    JSON.stringify({ vaule: VALUE }),
    JSON.stringify({ value: VALUE, value_base64: 'aGk=' }),
    JSON.stringify({ value_base64: `${VALUE}!` }),
    JSON.stringify({ value: `${VALUE}\0` }),
    JSON.stringify(VALUE),
    JSON.stringify({ value: '' }),
    `{"value": ${VALUE}}`,
    `{"value": "${VALUE}" "`,
    '{}',
  ]
  for (const body of bodies) {
    const reply = await put(body)
    assert.equal(reply.status, 400, body.slice(0, 60))
    assert.doesNotMatch(await reply.text(), /hunter2/)
  }
  const { message } = await bodyOf(await put(bodies[0]!))
  assert.equal(message, 'body value: must be at most 65536 bytes')
  assert.equal((await put(JSON.stringify({ value: 'x'.repeat(SECRET_BYTES_MAX) }))).status, 201)
})

test('weakness 8: a bad id is told what is wrong, and never becomes a path', async (t) => {
  const { call } = await givenApp(t)
  const body = jsonBody('PUT', { value: VALUE })
  for (const id of ['..%2F..%2Fetc', '.hidden', 'a%20b', 'a%0Ab', '-x', 'a,src=%2Fetc%2Fpasswd']) {
    const reply = await call(`/apps/web/secrets/${id}`, body)
    assert.equal(reply.status, 400, id)
    assert.match((await bodyOf(reply)).message, /^secret id ".*" must be 1 to 128 letters/)
  }
})

test('weakness 8: another tenant finds neither app nor secret, and permissions are separate', async (t) => {
  const { call, token } = await givenApp(t)
  const path = '/apps/web/secrets'
  const put = jsonBody('PUT', { value: VALUE })
  const remove = { method: 'DELETE' }
  await call(`${path}/one`, put)
  const stranger = await token({ sub: 'eve', tenant: 'other' })
  for (const init of [put, remove]) {
    assert.equal((await call(`${path}/one`, { ...init, token: stranger })).status, 404)
  }
  assert.equal((await call(path, { token: stranger })).status, 404)
  assert.equal((await call(`${path}?tenant=acme`, { token: stranger })).status, 404)
  const admin = await token({ sub: 'root', tenant: 'operators', admin: true })
  assert.equal((await bodyOf(await call(`${path}?tenant=acme`, { token: admin }))).length, 1)

  const reader = await token({ permissions: ['secret:read', 'app:read', 'app:write'] })
  assert.equal((await call(path, { token: reader })).status, 200)
  assert.equal((await call(`${path}/one`, { ...put, token: reader })).status, 403)
  assert.equal((await call(`${path}/one`, { ...remove, token: reader })).status, 403)
  const writer = await token({ permissions: ['secret:write'] })
  assert.equal((await call(`${path}/one`, { ...put, token: writer })).status, 200)
  assert.equal((await call(path, { token: writer })).status, 403)
  assert.equal(
    (await call(path, { token: await token({ permissions: ['app:read'] }) })).status,
    403,
  )
})

test('an app has a limited number of secrets, also when they are set at the same time', async (t) => {
  const { call, db, apps, cipher } = await givenApp(t)
  const [app] = await apps.all()
  const ids = Array.from({ length: APP_SECRETS_MAX - 1 }, (_, n) => `s${n}`)
  await db('app_secrets').insert(
    ids.map((id) => {
      const { keyId, nonce, sealed } = cipher.seal({ appId: app!.id, id }, Buffer.from(VALUE))
      return { app_id: app!.id, id, key_id: keyId, nonce, sealed }
    }),
  )
  const put = (id: string) => call(`/apps/web/secrets/${id}`, jsonBody('PUT', { value: VALUE }))
  const replies = await Promise.all(['x', 'y', 'z'].map(put))
  assert.deepEqual(replies.map(({ status }) => status).sort(), [201, 409, 409])
  assert.equal((await put('s0')).status, 200)
})

test('a build gets what was set, sealed for its app alone, and an app takes its secrets with it', async (t) => {
  const { call, db, apps, cipher } = await givenApp(t)
  await call('/apps', jsonBody('POST', { name: 'other' }))
  await call('/apps/web/secrets/one', jsonBody('PUT', { value: VALUE }))
  const [other, web] = await apps.all()
  const store = createSecretStore({ db })
  const provider = createAppSecrets({ store, cipher })
  const scope = { tenant: 'acme', appId: web!.id }
  const found = await provider.resolve(['one', 'two'], scope)
  assert.deepEqual([...found], [['one', Buffer.from(VALUE)]])
  assert.equal((await provider.resolve(['one'], { tenant: 'acme', appId: other!.id })).size, 0)
  assert.equal((await provider.resolve(['one'], { tenant: 'acme' })).size, 0)

  const wrong = createAppSecrets({ store, cipher: createSecretCipher(randomBytes(32)) })
  await assert.rejects(wrong.resolve(['one'], scope), /secret one was sealed with the key/)
  await db('app_secrets').update({ app_id: other!.id })
  const stolen = provider.resolve(['one'], { tenant: 'acme', appId: other!.id })
  await assert.rejects(stolen, /secret one is damaged in the database/)

  assert.equal((await call('/apps/other', { method: 'DELETE' })).status, 204)
  assert.deepEqual(await db('app_secrets'), [])
})

test('the setting secrets names ids, and refuses what could not be offered', async (t) => {
  const { call } = await givenApp(t)
  const secrets = [
    { id: 'npm_token', env_var: 'NPM_TOKEN' },
    { id: 'ca.pem', optional: true },
  ]
  const set = await call('/apps/web', jsonBody('PATCH', { secrets }))
  assert.deepEqual((await bodyOf(set)).secrets, secrets)
  assert.deepEqual((await bodyOf(await call('/apps/web'))).secrets, secrets)
  const wrong = [
    [{ id: 'a,src=/etc/shadow' }],
    [{ id: '../x' }],
    [{ id: 'a', env_var: 'A B' }],
    [{ id: 'a' }, { id: 'a' }],
    [{ id: 'a', env_var: 'b' }, { id: 'b' }],
    [{ id: 'a', value: VALUE }],
  ]
  for (const each of wrong) {
    const reply = await call('/apps/web', jsonBody('PATCH', { secrets: each }))
    assert.equal(reply.status, 400, JSON.stringify(each))
  }
  const reset = await call('/apps/web', jsonBody('PATCH', { secrets: null }))
  assert.equal((await bodyOf(reset)).secrets, undefined)
})
