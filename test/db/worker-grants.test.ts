// What a worker is granted by the server role: the same over both ways, a call and HTTP.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createTokens, type Tokens } from '../../server/auth/tokens.ts'
import { createBuildStore, hashLease } from '../../server/builds/store.ts'
import { AppError } from '../../server/errors.ts'
import { createHttp } from '../../server/http/app.ts'
import { type ClaimedBuild, claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import type { SecretProvider } from '../../server/secrets/provider.ts'
import { createWorkerApi } from '../../server/workers/api.ts'
import { createDesk, type Desk } from '../../server/workers/desk.ts'
import { type GiveGrant, NotGranted } from '../../server/workers/link.ts'
import { createLocalGrant } from '../../server/workers/local-grant.ts'
import { createRemoteServer } from '../../server/workers/remote-server.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { bodyOf } from '../helpers/http.ts'

const SECRET = 'hunter2/é'
const never = new AbortController().signal
const secrets: SecretProvider = {
  async resolve(ids) {
    if (ids.includes('broken')) throw new Error('the secret file acme/broken cannot be used')
    return new Map(ids.filter((id) => id === 'tok').map((id) => [id, Buffer.from(SECRET)]))
  },
}

async function given(t: TestContext) {
  const { db } = await givenDatabase(t)
  await setSlots(db, 3)
  const tokens = createTokens({ secret: 'x'.repeat(48) })
  const store = createBuildStore({ db })
  const desk = createDesk({ store, tokens, secrets, buildTimeoutSeconds: 60 })
  const claim = async (request = {}): Promise<ClaimedBuild> => {
    await givenBuild(db, { request, tenant: 'acme' })
    return (await claimNext(db, 'w1'))!
  }
  return { db, tokens, desk, claim }
}

async function givenServerApi(t: TestContext, { tokens, desk }: { tokens: Tokens; desk: Desk }) {
  const http = createHttp({
    log: silent,
    git: (_ctx, next) => next(),
    registry: (_req, res) => res.writeHead(404).end(),
    authenticate: () => Promise.reject(new Error('not asked')),
    routes: [],
    workers: createWorkerApi({
      tokens,
      desk,
      log: silent,
      welcome: () => ({
        registry_name: 'registry.example',
        public_url: 'https://registry.example',
        build_timeout_seconds: 600,
        mirror_hosts: [],
      }),
    }),
  })
  const url = await http.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => http.stop())
  return url
}

async function remote(t: TestContext, parts: { tokens: Tokens; desk: Desk }, token?: string) {
  const refused: string[] = []
  const server = createRemoteServer({
    url: await givenServerApi(t, parts),
    token: token ?? (await parts.tokens.mintWorker({ sub: 'rack-2', ttlSeconds: 60 })),
    worker: 'w1',
    log: silent,
    retryMs: 10,
    onRefused: (reason) => refused.push(reason),
  })
  return { ...server, refused }
}

const WAYS: Record<
  string,
  (t: TestContext, parts: { tokens: Tokens; desk: Desk }) => Promise<GiveGrant>
> = {
  'by a call': async (_, { desk }) => createLocalGrant(desk),
  'over HTTP': async (t, parts) => (await remote(t, parts)).grant,
}

for (const [way, grantBy] of Object.entries(WAYS)) {
  test(`granted ${way}: the build's own token and secrets, while its lease is held and no longer`, async (t) => {
    const { db, tokens, desk, claim } = await given(t)
    const grant = await grantBy(t, { tokens, desk })
    const build = await claim({ secrets: [{ id: 'tok' }, { id: 'unset', optional: true }] })
    const given1 = await grant(build, never)
    assert.deepEqual([...given1.secrets], [['tok', Buffer.from(SECRET)]])
    const { access, buildId, jti } = await tokens.verifyRegistry(given1.registryToken)
    assert.ok(access.some(({ repo, scope }) => repo === `builds/${build.id}` && scope === 'push'))
    assert.deepEqual([buildId, jti], [build.id, hashLease(build.leaseToken)])

    const other = await claim()
    const lost = (error: unknown) => error instanceof NotGranted && error.reason === 'lease_lost'
    await assert.rejects(grant({ ...build, leaseToken: other.leaseToken }, never), lost)
    await createLease({ db, buildId: build.id, token: build.leaseToken }).requeue('it broke')
    await assert.rejects(grant(build, never), lost)
  })

  test(`granted ${way}: secrets that can't be read are no absent ones, and say why`, async (t) => {
    const { tokens, desk, claim } = await given(t)
    const grant = await grantBy(t, { tokens, desk })
    const { secrets, secretsError } = await grant(
      await claim({ secrets: [{ id: 'broken' }] }),
      never,
    )
    assert.equal(secrets.size, 0)
    assert.match(secretsError ?? '', /acme\/broken cannot be used/)
  })
}

test('the API of workers opens for a worker’s token alone, and only to the worker that has the build', async (t) => {
  const { tokens, desk, claim } = await given(t)
  const url = await givenServerApi(t, { tokens, desk })
  const build = await claim({ secrets: [{ id: 'tok' }] })
  const lease_hash = hashLease(build.leaseToken)
  const ask = (token: string | undefined, body: object) =>
    fetch(`${url}/worker/builds/${build.id}/grants`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ protocol: 1, worker: 'w1', lease_hash, ...body }),
    })
  const worker = await tokens.mintWorker({ sub: 'rack-2', ttlSeconds: 60 })
  const given1 = await ask(worker, {})
  assert.equal(given1.status, 200)
  assert.equal(given1.headers.get('cache-control'), 'no-store')
  // A guest knows its own registry token, and so the hash of its lease.
  const { registry_token } = await bodyOf(given1)
  const admin = await tokens.mintApi({ sub: 'root', admin: true, permissions: ['*'] })
  for (const wrong of [undefined, 'x', admin, registry_token]) {
    assert.equal((await ask(wrong, {})).status, 401)
  }
  const refusals = {
    'another worker': [409, { worker: 'w2' }],
    'another lease': [409, { lease_hash: 'f'.repeat(64) }],
    'the lease itself': [400, { lease_hash: build.leaseToken }],
    'another protocol': [409, { protocol: 2 }],
  } as const
  for (const [what, [status, body]] of Object.entries(refusals)) {
    const reply = await ask(worker, body)
    assert.equal(reply.status, status, what)
    assert.ok(!(await reply.text()).includes('hunter2'))
  }
})

test('a worker waits for a server that is away, and stops for one that refuses it', async (t) => {
  const { tokens, desk, claim } = await given(t)
  let failures = 3
  const restless: Desk = {
    async grant(asked) {
      failures -= 1
      if (failures >= 0) throw new AppError('database_unavailable', 'not now')
      return desk.grant(asked)
    },
  }
  const build = await claim()
  const server = await remote(t, { tokens, desk: restless })
  assert.equal((await server.hello(never)).build_timeout_seconds, 600)
  assert.ok((await server.grant(build, never)).registryToken)
  assert.equal(failures, -1)
  failures = Number.POSITIVE_INFINITY
  await assert.rejects(server.grant(build, AbortSignal.timeout(100)), { name: 'TimeoutError' })

  const wrong = await remote(t, { tokens, desk }, await tokens.mintApi({ sub: 'ada' }))
  await assert.rejects(wrong.hello(never), { message: /refuses this worker: invalid token type/ })
  const drained = (error: unknown) => error instanceof NotGranted && error.reason === 'drain'
  await assert.rejects(wrong.grant(build, never), drained)
  assert.deepEqual(wrong.refused, ['invalid token type'])
})
