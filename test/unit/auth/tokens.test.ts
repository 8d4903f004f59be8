import assert from 'node:assert/strict'
import { createHmac, hkdfSync } from 'node:crypto'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import { may } from '../../../server/auth/principal.ts'
import { createTokens } from '../../../server/auth/tokens.ts'

const secret = 'a secret of at least thirty-two characters'
const tokens = createTokens({ secret })
const build = {
  buildId: 'b1',
  tenant: 'acme',
  access: [{ repo: 'builds/b1', scope: 'push' as const }],
  leaseHash: 'f00d',
  ttlSeconds: 60,
}
const unauthorized = (message: string) => ({ name: 'AppError', code: 'unauthorized', message })

function apiKey(from = secret): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', from, '', 'hypeman api token', 32))
}

/** A token that is right in every part but those given. */
function forge(overrides: {
  alg?: string
  typ?: string
  aud?: string
  iss?: string
  exp?: number | null
  jti?: string | null
  claims?: Record<string, unknown>
  key?: Uint8Array
}): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const jwt = new SignJWT({ tenant: 'acme', sub: 'ada', ...overrides.claims })
    .setProtectedHeader({ alg: overrides.alg ?? 'HS256', typ: overrides.typ ?? 'hypeman-api+jwt' })
    .setIssuer(overrides.iss ?? 'hypeman')
    .setAudience(overrides.aud ?? 'hypeman-api')
  if (overrides.exp !== null) jwt.setExpirationTime(overrides.exp ?? now + 60)
  if (overrides.jti !== null) jwt.setJti(overrides.jti ?? 'j1')
  return jwt.sign(overrides.key ?? apiKey())
}

test('an API token says who asks, for which tenant and with which rights', async () => {
  const token = await tokens.mintApi({ sub: 'ada', tenant: 'acme', permissions: ['build:read'] })
  const principal = await tokens.verifyApi(token)
  assert.equal(principal.user, 'ada')
  assert.equal(principal.tenant, 'acme')
  assert.equal(principal.admin, false)
  assert.ok(may(principal, 'build:read'))
  assert.ok(!may(principal, 'build:write'))
})

test('a token without permissions may everything but administer', async () => {
  const plain = await tokens.verifyApi(await tokens.mintApi({ sub: 'ada' }))
  assert.ok(may(plain, 'build:write'))
  assert.ok(!may(plain, 'build:admin'))
  const admin = await tokens.verifyApi(await tokens.mintApi({ sub: 'root', admin: true }))
  assert.ok(may(admin, 'build:admin'))
})

test('a token that names no tenant belongs to the one of its subject', async () => {
  assert.equal((await tokens.verifyApi(await tokens.mintApi({ sub: 'ada' }))).tenant, 'ada')
  const odd = await tokens.verifyApi(await tokens.mintApi({ sub: 'ada@example.com' }))
  assert.match(odd.tenant, /^tenant-[0-9a-f]{16}$/)
  const forged = await forge({ claims: { tenant: undefined } })
  assert.equal((await tokens.verifyApi(forged)).tenant, 'ada')
})

test('a subject with control characters, and a reserved tenant, get no token', async () => {
  await assert.rejects(tokens.mintApi({ sub: 'ada\u001b[2J' }), /printable/)
  await assert.rejects(tokens.mintApi({ sub: '' }), /printable/)
  await assert.rejects(tokens.mintApi({ sub: 'ada', tenant: 'library' }), /not one of/)
})

test('a token of one kind is refused where another kind is expected', async () => {
  const api = await tokens.mintApi({ sub: 'ada' })
  const registry = await tokens.mintRegistry(build)
  await assert.rejects(tokens.verifyApi(registry), unauthorized('invalid token type'))
  await assert.rejects(tokens.verifyRegistry(api), unauthorized('invalid token type'))
})

test('the key of one purpose does not sign for another', async () => {
  const key = new Uint8Array(hkdfSync('sha256', secret, '', 'hypeman registry token', 32))
  await assert.rejects(tokens.verifyApi(await forge({ key })), unauthorized('invalid token'))
  const raw = new TextEncoder().encode(secret)
  await assert.rejects(tokens.verifyApi(await forge({ key: raw })), unauthorized('invalid token'))
})

test('the control: a token forged with everything right is accepted', async () => {
  assert.equal((await tokens.verifyApi(await forge({}))).user, 'ada')
})

for (const [what, overrides] of Object.entries({
  'another audience': { aud: 'hypeman-registry' },
  'another issuer': { iss: 'somebody' },
  'another type': { typ: 'JWT' },
  'another algorithm of the same family': { alg: 'HS512' },
  'no expiry': { exp: null },
  'no id': { jti: null },
  'a tenant that is none': { claims: { tenant: '../acme' } },
  'a key of another secret': { key: apiKey('another secret of thirty-two characters') },
})) {
  test(`a token with ${what} is refused`, async () => {
    await assert.rejects(tokens.verifyApi(await forge(overrides)), { code: 'unauthorized' })
  })
}

test('an expired token is refused, and the reason said', async () => {
  const token = await forge({ exp: Math.floor(Date.now() / 1000) - 1 })
  await assert.rejects(tokens.verifyApi(token), unauthorized('token expired'))
})

test('an unsigned token (alg none) is refused, in every spelling', async () => {
  const [, payload] = (await forge({})).split('.')
  for (const alg of ['none', 'None', 'NONE']) {
    const header = Buffer.from(JSON.stringify({ alg, typ: 'hypeman-api+jwt' })).toString(
      'base64url',
    )
    for (const signature of ['', 'AA']) {
      const token = `${header}.${payload}.${signature}`
      await assert.rejects(tokens.verifyApi(token), unauthorized('invalid token'))
    }
  }
})

test('a changed claim breaks the signature', async () => {
  const [header, payload = '', signature] = (await forge({})).split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const changed = Buffer.from(JSON.stringify({ ...claims, admin: true })).toString('base64url')
  const token = `${header}.${changed}.${signature}`
  await assert.rejects(tokens.verifyApi(token), unauthorized('invalid token'))
})

test('a token signed by hand with the plain secret, as seed 000 did, is refused', async () => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + 60
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'ada', exp })}`
  const signature = createHmac('sha256', secret).update(signed).digest('base64url')
  await assert.rejects(tokens.verifyApi(`${signed}.${signature}`), unauthorized('invalid token'))
})

test('what is no token at all is refused', async () => {
  for (const text of ['', '.', '..', 'abc', 'a.b.c', '😀.😀.😀', 'x'.repeat(10_000)]) {
    await assert.rejects(tokens.verifyApi(text), unauthorized('invalid token'))
  }
})

test('a revoked token is refused, and a revocation list that cannot be read is not a wrong token', async () => {
  const revoking = createTokens({ secret, isRevoked: async (jti) => jti === 'j1' })
  await assert.rejects(revoking.verifyApi(await forge({})), unauthorized('token revoked'))
  assert.equal((await revoking.verifyApi(await forge({ jti: 'j2' }))).jti, 'j2')
  const down = createTokens({
    secret,
    isRevoked: async () => {
      throw new Error('no database')
    },
  })
  await assert.rejects(down.verifyApi(await forge({})), /^Error: no database/)
})

test('a worker’s token opens nothing but the worker’s API, and no other token opens that', async () => {
  const worker = await tokens.mintWorker({ sub: 'rack-2', ttlSeconds: 60 })
  assert.equal((await tokens.verifyWorker(worker)).sub, 'rack-2')
  const wrong = unauthorized('invalid token type')
  await assert.rejects(tokens.verifyApi(worker), wrong)
  await assert.rejects(tokens.verifyRegistry(worker), wrong)
  const admin = await tokens.mintApi({ sub: 'root', admin: true, permissions: ['*'] })
  await assert.rejects(tokens.verifyWorker(admin), wrong)
  await assert.rejects(tokens.verifyWorker(await tokens.mintRegistry(build)), wrong)
  const { jti } = await tokens.verifyWorker(worker)
  const strict = createTokens({ secret, isRevoked: async (id) => id === jti })
  await assert.rejects(strict.verifyWorker(worker), unauthorized('token revoked'))
})

test('a build’s registry token carries its access and the hash of its lease', async () => {
  const { expiresAt, ...grant } = await tokens.verifyRegistry(await tokens.mintRegistry(build))
  assert.ok(Math.abs(expiresAt.getTime() - Date.now() - 60_000) < 5_000)
  assert.deepEqual(grant, {
    subject: 'builder-b1',
    buildId: 'b1',
    tenant: 'acme',
    access: [{ repo: 'builds/b1', scope: 'push' }],
    wide: undefined,
    catalog: undefined,
    jti: 'f00d',
  })
})

/** A registry token with claims of one's own. */
function registryToken(claims: Record<string, unknown>): Promise<string> {
  const key = new Uint8Array(hkdfSync('sha256', secret, '', 'hypeman registry token', 32))
  const typ = 'hypeman-registry+jwt'
  return forge({ key, typ, aud: 'hypeman-registry', claims: { sub: 'builder-b1', ...claims } })
}

test('weakness 4: the list of repositories is understood in the old form and in the new one', async () => {
  const access = async (claims: Record<string, unknown>) =>
    (await tokens.verifyRegistry(await registryToken(claims))).access
  const pull = [{ repo: 'cache/global/k', scope: 'pull' }]
  assert.deepEqual(await access({ repos: ['cache/global/k'], scope: 'pull' }), pull)
  assert.deepEqual(await access({ repos: ['a', 'b'], scope: 'push', build_id: 'b1' }), [
    { repo: 'a', scope: 'push' },
    { repo: 'b', scope: 'push' },
  ])
  assert.deepEqual(await access({ repo_access: pull, repos: ['a'], scope: 'push' }), pull)
  assert.deepEqual(
    await access({ repo_access: [], repos: ['cache/global/k'], scope: 'pull' }),
    pull,
  )
  assert.deepEqual(await access({ repo_access: [] }), [])
})

test('a registry token that names nothing, or nothing known, is no token', async () => {
  for (const claims of [
    {},
    { repos: ['a'] },
    { scope: 'push' },
    { repos: 'a', scope: 'push' },
    { repos: ['a'], scope: 'all' },
    { repo_access: [{ repo: 'a', scope: 'admin' }] },
    { scope: 'org:*' },
    { scope: 'tenant:*', tenant: undefined },
    { scope: 'tenant:*', tenant: 'library' },
  ]) {
    const token = await registryToken(claims)
    await assert.rejects(tokens.verifyRegistry(token), unauthorized('invalid token'))
  }
})

test('admin:* and tenant:* are scopes of a token, not names of repositories', async () => {
  const request = { sub: 'op', tenant: 'acme', ttlSeconds: 60 }
  for (const scope of ['admin:*', 'tenant:*'] as const) {
    const token = await tokens.mintRegistryWide({ ...request, scope })
    const grant = await tokens.verifyRegistry(token)
    assert.equal(grant.wide, scope)
    assert.deepEqual(grant.access, [])
    assert.equal(grant.buildId, undefined)
    await assert.rejects(tokens.verifyApi(token), unauthorized('invalid token type'))
  }
})

test('a session ends with the token it was had for', async () => {
  const revoking = createTokens({ secret, isRevoked: async (jti) => jti === 'j1' })
  const holder = { subject: 'ada', tenant: 'acme', buildId: undefined, jti: 'j1' }
  const session = await tokens.mintRegistrySession({ holder, access: [], ttlSeconds: 60 })
  assert.equal((await tokens.verifyRegistry(session)).jti, 'j1')
  await assert.rejects(revoking.verifyRegistry(session), unauthorized('token revoked'))
})
