// Workers in processes of their own, with nothing but the database, the objects, and a token for the server.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Build } from '../../server/builds/schema.ts'
import { notify } from '../../server/db/notices.ts'
import { LEASE_MS } from '../../server/limits.ts'
import { followEvents, givenApp, givenSettings, skopeo } from '../helpers/apps.ts'
import { cuttable } from '../helpers/cut-database.ts'
import { givenDatabase } from '../helpers/database.ts'
import { leftovers, podPids } from '../helpers/leftovers.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'
import { until } from '../helpers/until.ts'
import { givenWorkerProcess } from '../helpers/worker-process.ts'

const LIMIT = { timeout: 300_000 }

const givenBareServer = async (t: Parameters<typeof givenServer>[0]) =>
  givenServer(t, { ROLE: 'server', RUNNER: await fastestRunner() })

async function workersOf(server: TestServer): Promise<Record<string, unknown>[]> {
  const token = await server.token('root', { admin: true })
  return (await (await server.api('/admin/workers', token)).json()) as Record<string, unknown>[]
}

async function onlyBuild(server: TestServer, token: string): Promise<Build> {
  const builds = (await (await server.api('/builds', token)).json()) as Build[]
  assert.equal(builds.length, 1)
  return builds[0]!
}

const linesOf = (events: Record<string, unknown>[]) =>
  events.filter(({ type }) => type === 'log').map(({ content }) => String(content))

test(
  'a push to a server without a worker waits, and a worker in a process of its own builds it, secrets included',
  LIMIT,
  async (t) => {
    const server = await givenBareServer(t)
    const token = await server.token('ada')
    await givenSettings(server, token, 'hello', { secrets: [{ id: 'npm_token' }] })
    const put = await server.api('/apps/hello/secrets/npm_token', token, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value: 'hunter2-and-more' }),
    })
    assert.ok(put.ok, await put.text())
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/Build \S+ queued/)
    assert.deepEqual(await workersOf(server), [])

    const worker = await givenWorkerProcess(t, server)
    const done = await push.done
    assert.equal(done.exitCode, 0, `${done.text}\n${worker.logged()}`)
    assert.match(done.text, /Secrets: npm_token/)
    const build = await onlyBuild(server, token)
    assert.equal(build.status, 'ready', build.error)
    const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
    const inspected = await skopeo('inspect', ...creds, `docker://${build.image_ref}`)
    assert.equal(JSON.parse(inspected).Digest, build.image_digest)

    const [shown] = await workersOf(server)
    const { id, status, building, slots } = shown ?? {}
    assert.deepEqual(
      { id, status, building, slots },
      { id: worker.name, status: 'ready', building: 0, slots: 2 },
    )
    worker.kill('SIGTERM')
    assert.equal(await worker.ended, 0)
    assert.deepEqual(await workersOf(server), [])
    assert.deepEqual(await leftovers(worker.dataDir), { processes: [], podFiles: [] })
  },
)

test(
  'a worker that is stopped past its lease changes nothing when it wakes, and ends its pod',
  LIMIT,
  async (t) => {
    const server = await givenBareServer(t)
    const token = await server.token('ada')
    const first = await givenWorkerProcess(t, server)
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/Builder (VM|sandbox) ready/)
    first.kill('SIGSTOP')
    assert.equal((await podPids(first.pid)).length, 1)
    const second = await givenWorkerProcess(t, server)
    // Its start has swept what is its own, and nothing of the other's.
    assert.equal((await podPids(first.pid)).length, 1)
    // As if the lease had run out; the server takes the build back and the second worker has it.
    await server.sql(`update builds set lease_until = now() - interval '1 s'`)
    const done = await push.done
    const build = await onlyBuild(server, token)
    assert.equal(build.status, 'ready', `${done.text}\n${second.logged()}`)
    assert.equal(build.attempt, 2)
    const before = await followEvents(server, build.id, token)
    assert.ok(linesOf(before).some((line) => /Builder \S+ ready/.test(line)))

    first.kill('SIGCONT')
    await until(
      'the pod of the first worker to be gone',
      async () => (await podPids(first.pid)).length === 0,
    )
    // Long enough for what it had in hand: it may learn of its loss by a heartbeat or by its next write.
    await sleep(2_000)
    assert.deepEqual(await followEvents(server, build.id, token), before)
    const [row] = await server.sql<{ worker: string }>('select worker from builds')
    assert.equal(row?.worker, second.name)
    assert.deepEqual((await leftovers(first.dataDir)).podFiles, [])
  },
)

test(
  'a drained worker takes no build until it may again; SIGTERM lets a build end',
  LIMIT,
  async (t) => {
    const server = await givenBareServer(t)
    const token = await server.token('ada')
    const root = await server.token('root', { admin: true })
    const worker = await givenWorkerProcess(t, server, { DRAIN_TIMEOUT: '120' })
    const drained = await server.api(`/admin/drain?worker=${worker.name}`, root, { method: 'POST' })
    assert.equal(drained.status, 202)
    await until('the worker to drain', () => /draining/.test(worker.logged()))
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/Build \S+ queued/)
    assert.equal((await onlyBuild(server, token)).status, 'queued')
    await server.api('/admin/drain', root, { method: 'DELETE' })
    await push.line(/Builder (VM|sandbox) ready/)
    worker.kill('SIGTERM')
    const done = await push.done
    assert.equal(done.exitCode, 0, `${done.text}\n${worker.logged()}`)
    assert.equal(await worker.ended, 0)
    const build = await onlyBuild(server, token)
    assert.deepEqual([build.status, build.attempt], ['ready', 1])
    assert.deepEqual(await leftovers(worker.dataDir), { processes: [], podFiles: [] })
  },
)

test(
  'a worker that may not work says why and ends: no token, a wrong one, no settings',
  LIMIT,
  async (t) => {
    const server = await givenBareServer(t)
    await assert.rejects(
      givenWorkerProcess(t, server, { WORKER_TOKEN: await server.token('ada') }),
      /the worker ended with 1: [\s\S]*SERVER_URL=\S+ refuses this worker: invalid token type/,
    )
    await assert.rejects(
      givenWorkerProcess(t, server, { WORKER_TOKEN: '', SERVER_URL: '' }),
      /SERVER_URL is not set, a worker needs it: [\s\S]*WORKER_TOKEN is not set/,
    )
  },
)

test(
  'a server and its workers end, and say why, when a newer server brings the database up to date',
  LIMIT,
  async (t) => {
    const { url, db } = await givenDatabase(t)
    const env = { DATABASE_URL: url, RUNNER: await fastestRunner() }
    const server = await givenServer(t, { ...env, ROLE: 'server' })
    const worker = await givenWorkerProcess(t, server, env)
    const next = { name: '9999_next.js', batch: 9, migration_time: new Date() }
    await db('knex_migrations').insert(next)
    notify(db, 'hypeman_migrated', '')
    assert.equal(await worker.ended, 1)
    assert.equal(await server.exit(), 1)
    const said = /error: the database is at 9999_next\.js now, .* Run that version$/gm
    for (const { logged } of [server, worker]) assert.equal(logged().match(said)?.length, 1)
  },
)

test(
  'PostgreSQL is away for longer than a lease while a build runs: it goes on, in one attempt, and its log is whole',
  LIMIT,
  async (t) => {
    const way = await cuttable(t, (await givenDatabase(t)).url)
    const env = { ROLE: 'server', DATABASE_URL: way.url }
    const server = await givenServer(t, { ...env, RUNNER: await fastestRunner() })
    const token = await server.token('ada')
    const worker = await givenWorkerProcess(t, server, { DATABASE_URL: way.url })
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/Builder (VM|sandbox) ready/)
    await way.cut()
    await sleep(LEASE_MS + 5_000)
    await way.restore()
    await push.done
    await until('the server to be well', async () => (await server.api('/health', token)).ok)
    const { id } = await onlyBuild(server, token)
    const build = await server.ended(id, token)
    assert.equal(build.status, 'ready', `${build.error}\n${worker.logged()}`)
    assert.equal(build.attempt, 1, worker.logged())
    const events = await followEvents(server, id, token)
    const counted = linesOf(events).filter((line) => /^counting/.test(line))
    assert.deepEqual(counted, ['counting 1', 'counting 2', 'counting 3'])
  },
)
