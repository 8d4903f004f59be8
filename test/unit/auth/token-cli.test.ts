import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { parsePermissions, parseRevoked, parseTtl } from '../../../server/auth/token-cli.ts'
import { createTokens } from '../../../server/auth/tokens.ts'

const secret = 'a secret of at least thirty-two characters'
const tokens = createTokens({ secret })

async function givenDataDir(t: TestContext): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hm-cli-'))
  t.after(() => rm(dataDir, { recursive: true }))
  return dataDir
}

async function runToken(t: TestContext, args: string[], env?: Record<string, string>) {
  return execa('node', ['--import', 'tsx', 'server/cli.ts', 'token', ...args], {
    env: env ?? { JWT_SECRET: secret, DATA_DIR: await givenDataDir(t) },
    reject: false,
  })
}

test('the command prints one token and nothing else', async (t) => {
  const args = ['--sub', 'ada', '--tenant', 'acme', '--permissions', 'build:read,app:read']
  const { stdout, stderr, exitCode } = await runToken(t, [...args, '--ttl', '2h', '--admin'])
  assert.equal(exitCode, 0)
  assert.equal(stderr, '')
  assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/)
  const { jti, ...principal } = await tokens.verifyApi(stdout)
  assert.match(jti, /^[0-9a-f-]{36}$/)
  assert.deepEqual(principal, {
    user: 'ada',
    tenant: 'acme',
    admin: true,
    permissions: new Set(['build:read', 'app:read']),
  })
  const claims = JSON.parse(Buffer.from(stdout.split('.')[1] ?? '', 'base64url').toString())
  assert.equal(claims.exp - claims.iat, 7200)
})

test('a token of a folder without a key is no riddle: the command says that the key is new', async (t) => {
  const env = { DATA_DIR: await givenDataDir(t) }
  const first = await runToken(t, ['--sub', 'ada'], env)
  assert.match(first.stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/)
  assert.match(first.stderr, /^note: there was no key yet, .*jwt-secret is new; only a server with/)
  const second = await runToken(t, ['--sub', 'ada'], env)
  assert.equal(second.stderr, '')
})

test('an operator’s push token, and one for a tenant, are printed for the registry alone', async (t) => {
  const admin = await runToken(t, ['--registry', '--admin'])
  assert.equal(admin.exitCode, 0, admin.stderr)
  const grant = await tokens.verifyRegistry(admin.stdout)
  assert.deepEqual([grant.wide, grant.subject, grant.buildId], ['admin:*', 'operator', undefined])
  await assert.rejects(tokens.verifyApi(admin.stdout), { message: 'invalid token type' })
  const tenant = await runToken(t, ['--registry', '--tenant', 'acme', '--sub', 'ci', '--ttl', '1h'])
  const ofAcme = await tokens.verifyRegistry(tenant.stdout)
  assert.deepEqual([ofAcme.wide, ofAcme.subject, ofAcme.tenant], ['tenant:*', 'ci', 'acme'])
})

test('a worker’s token is printed for a year, and names nothing but its holder', async (t) => {
  const { stdout, stderr } = await runToken(t, ['--worker', '--sub', 'rack-2'])
  assert.equal(stderr, '')
  const { sub } = await tokens.verifyWorker(stdout)
  assert.equal(sub, 'rack-2')
  const claims = JSON.parse(Buffer.from(stdout.split('.')[1] ?? '', 'base64url').toString())
  assert.equal(claims.exp - claims.iat, 365 * 86_400)
  assert.deepEqual(parseRevoked(stdout).jti, claims.jti)
})

test('a command line that is wrong ends with usage, exit code 2 and an empty stdout', async (t) => {
  const wrong = [
    [],
    ['--sub', 'ada', '--tenant', 'library'],
    ['--sub', 'ada', '--permissions', 'build:fly'],
    ['--sub', 'ada', '--ttl', 'soon'],
    ['--sub', 'ada', '--what'],
    ['--registry'],
    ['--worker', '--admin'],
    ['--worker', '--registry'],
    ['--registry', '--admin', '--tenant', 'acme'],
    ['--registry', '--admin', '--permissions', 'registry:write'],
    ['--registry', '--tenant', 'library'],
    ['revoke'],
    ['revoke', 'nonsense'],
  ]
  const ends = await Promise.all(wrong.map((args) => runToken(t, args)))
  for (const [n, { stdout, stderr, exitCode }] of ends.entries()) {
    assert.equal(exitCode, 2, wrong[n]?.join(' '))
    assert.equal(stdout, '')
    assert.match(stderr, /^error: .+\nusage: /)
  }
})

test('times to live have a unit and an end', () => {
  assert.deepEqual(['90s', '30m', '24h', '7d'].map(parseTtl), [90, 1800, 86_400, 604_800])
  for (const text of ['', '0h', '-1h', '24', 'h', '1w', '1.5h', '99999d']) {
    assert.throws(() => parseTtl(text), /--ttl/, text)
  }
})

test('permissions are names from the list', () => {
  assert.deepEqual(parsePermissions('build:read, app:write'), ['build:read', 'app:write'])
  assert.throws(() => parsePermissions('build:read,'), /"" is unknown; known: \* build:read/)
})

test('a token is revoked by itself or by its id', async () => {
  const token = await tokens.mintApi({ sub: 'ada', ttlSeconds: 60 })
  const { jti } = await tokens.verifyApi(token)
  const { expiresAt, ...rest } = parseRevoked(token)
  assert.deepEqual(rest, { jti })
  assert.ok(
    expiresAt instanceof Date && Math.abs(expiresAt.getTime() - Date.now() - 60_000) < 5_000,
  )
  assert.deepEqual(parseRevoked(jti), { jti, expiresAt: 'infinity' })
})
