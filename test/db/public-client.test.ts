// The published client of seed 000, unmodified, against everything but the machine: real HTTP, real tokens, the
// real queue and log, and a worker that says what a build would.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import {
  type APIError,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  toFile,
} from '@onkernel/hypeman'
import { createLogWriter } from '../../server/pipeline/log-writer.ts'
import { givenApi, type TestApiOptions } from '../helpers/api.ts'
import { aborted, DIGEST, type FakeRun, givenWorker, PROVENANCE } from '../helpers/fake-worker.ts'
import { givenFinish } from '../helpers/finish.ts'
import { followToEnd, linesOf, publicClient, statusesOf } from '../helpers/public-client.ts'
import { DOCKERFILE, tarGzOf } from '../helpers/sources.ts'

const LIMIT = { timeout: 180_000 }

async function givenClient(t: TestContext, options: TestApiOptions = {}) {
  const api = await givenApi(t, options)
  const client = publicClient(api.url, await api.token())
  const source = await toFile(await tarGzOf(DOCKERFILE), 'source.tar.gz')
  return { api, client, source }
}

test('health', async (t) => {
  const { client } = await givenClient(t)
  assert.deepEqual({ ...(await client.health.check()) }, { status: 'ok' })
})

test('create, follow, get and list a build that becomes ready', LIMIT, async (t) => {
  const { api, client, source } = await givenClient(t)
  givenFinish(t, { db: api.db, listener: api.listener })
  const lines = ['#1 [internal] load build definition', '', 'ünï → 🦊', 'x'.repeat(70_000)]
  const created = await client.builds.create({
    source,
    tags: JSON.stringify({ team: 'backend', env: 'staging' }),
    timeout_seconds: 60,
    memory_mb: 1024,
    cpus: 1,
    cache_scope: 'my-scope',
    secrets: '[]',
  })
  assert.equal(created.status, 'queued')
  assert.equal(created.queue_position, 1)
  assert.deepEqual(created.tags, { team: 'backend', env: 'staging' })
  const following = followToEnd(client, created.id)
  await givenWorker(t, api, async ({ lease, succeed }: FakeRun) => {
    const writer = createLogWriter({ append: lease.append })
    for (const line of lines) await writer.write({ type: 'log', line })
    await writer.close()
    await succeed()
  })
  const events = await following
  assert.deepEqual(statusesOf(events), ['queued', 'building', 'pushing', 'ready'])
  assert.deepEqual(linesOf(events), lines)
  assert.equal(events[0]?.type, 'status')
  assert.equal(events.at(-1)?.status, 'ready')

  const build = await client.builds.get(created.id)
  assert.equal(build.status, 'ready')
  assert.equal(build.image_digest, DIGEST)
  assert.equal(build.image_ref, `registry.example/builds/${created.id}`)
  assert.equal(build.builder_instance_id, `${created.id}-1`)
  assert.equal(build.provenance?.buildkit_version, PROVENANCE.buildkit_version)
  assert.equal('queue_position' in build, false)
  assert.equal(
    build.duration_ms,
    Date.parse(build.completed_at ?? '') - Date.parse(build.started_at ?? ''),
  )

  const listed = await client.builds.list({ tags: { team: 'backend', env: 'staging' } })
  assert.deepEqual(
    listed.map(({ id }) => id),
    [created.id],
  )
  assert.deepEqual([...(await client.builds.list({ tags: { team: 'frontend' } }))], [])
  assert.equal((await client.builds.list()).length, 1)
})

test('without follow the client gets the log and nothing else', LIMIT, async (t) => {
  const { api, client, source } = await givenClient(t)
  const { id } = await client.builds.create({ source })
  await givenWorker(t, api, async ({ say, lease }) => {
    await say('one', 'two')
    await lease.fail({ failureClass: 'build', error: 'step 2/2 exited 1' })
  })
  assert.deepEqual(statusesOf(await followToEnd(client, id)), ['queued', 'building', 'failed'])
  const types: string[] = []
  for await (const { type, content } of await client.builds.events(id)) {
    types.push(`${type} ${content}`)
  }
  assert.deepEqual(types, ['log one', 'log two'])
  const failed = await client.builds.get(id)
  assert.equal(failed.status, 'failed')
  assert.equal(failed.error, 'step 2/2 exited 1')
  assert.equal('image_ref' in failed, false)
  // A finished build followed once more.
  assert.deepEqual(linesOf(await followToEnd(client, id)), ['one', 'two'])
})

test('cancel a queued build, a running one, and one that is over', LIMIT, async (t) => {
  const { api, client, source } = await givenClient(t)
  const queued = await client.builds.create({ source })
  assert.equal(await client.builds.cancel(queued.id).then(() => 'done'), 'done')
  assert.equal((await client.builds.get(queued.id)).status, 'cancelled')

  const running = await client.builds.create({ source })
  await givenWorker(t, api, async ({ say, signal }) => {
    await say('working')
    await aborted(signal)
  })
  for await (const event of await client.builds.events(running.id, { follow: true })) {
    if (event.content === 'working') await client.builds.cancel(running.id)
    if (event.status === 'cancelled') break
  }
  const build = await client.builds.get(running.id)
  assert.equal(build.status, 'cancelled')
  assert.ok(build.completed_at)
  assert.equal(typeof build.duration_ms, 'number')
  await client.builds.cancel(running.id)
})

test('weakness 13: cancelling a finished build is the client’s ConflictError', LIMIT, async (t) => {
  const { api, client, source } = await givenClient(t)
  const { id } = await client.builds.create({ source })
  await givenWorker(t, api, ({ lease }) =>
    lease.fail({ failureClass: 'build', error: 'step 1/1 exited 1' }),
  )
  await followToEnd(client, id)
  await assert.rejects(client.builds.cancel(id), (error) => {
    assert.ok(error instanceof ConflictError)
    assert.equal(error.status, 409)
    assert.match(error.message, /is already complete \(failed\)/)
    return true
  })
})

test('errors are the client’s own classes, with our code and sentence', LIMIT, async (t) => {
  const { api, client, source } = await givenClient(t, { queuedMax: 1 })
  const reader = publicClient(api.url, await api.token({ permissions: ['build:read'] }))
  const stranger = publicClient(api.url, 'no token at all')
  const other = publicClient(api.url, await api.token({ sub: 'bob', tenant: 'other' }))
  const { id } = await client.builds.create({ source })
  const cases: [() => Promise<unknown>, new (...args: never[]) => APIError, string][] = [
    [() => client.builds.get('nosuchbuild1'), NotFoundError, 'not_found'],
    [() => other.builds.get(id), NotFoundError, 'not_found'],
    [() => other.builds.cancel(id), NotFoundError, 'not_found'],
    [async () => other.builds.events(id, { follow: true }), NotFoundError, 'not_found'],
    [() => stranger.builds.list(), AuthenticationError, 'unauthorized'],
    [() => reader.builds.create({ source }), PermissionDeniedError, 'forbidden'],
    [() => reader.builds.cancel(id), PermissionDeniedError, 'forbidden'],
    [() => client.builds.create({ source, cpus: 99 }), BadRequestError, 'invalid_request'],
    [() => client.builds.create({ source, tags: '[1]' }), BadRequestError, 'invalid_request'],
    [
      async () => client.builds.create({ source: await toFile(Buffer.from('no tar'), 'x.tgz') }),
      BadRequestError,
      'invalid_source',
    ],
    [
      async () =>
        client.builds.create({
          source: await toFile(await tarGzOf([{ name: 'app.js' }, '1']), 'source.tar.gz'),
        }),
      BadRequestError,
      'dockerfile_required',
    ],
    [() => client.builds.create({ source }), RateLimitError, 'queue_full'],
  ]
  for (const [call, expected, code] of cases) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof expected, `${code}: ${error}`)
      const body = error.error as { code: string; message: string }
      assert.equal(body.code, code)
      assert.ok(error.message.includes(body.message))
      return true
    })
  }
  await api.db.destroy()
  await assert.rejects(client.builds.list(), InternalServerError)
})
