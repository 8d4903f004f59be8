// GET /metrics over real rows: what is counted, when, and who may see it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBuildLog } from '../../server/builds/log.ts'
import { createBuilds } from '../../server/builds/service.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import {
  endColumns,
  transition,
  transitionIn,
  watchTransitions,
} from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker } from '../../server/queue/worker.ts'
import { createMetrics } from '../../server/telemetry/metrics.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { silent } from '../helpers/database.ts'
import { parseSamples, sampleOf } from '../helpers/prometheus.ts'

async function scrape(api: TestApi): Promise<string> {
  const token = await api.token({ sub: 'prometheus', permissions: ['metrics:read'] })
  const reply = await api.call('/metrics', { token })
  assert.equal(reply.status, 200)
  assert.match(reply.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  return reply.text()
}

async function claim(db: Db) {
  const build = await claimNext(db, 'w1')
  assert.ok(build)
  return { build, lease: createLease({ db, buildId: build.id, token: build.leaseToken }) }
}

/** A push that went through all phases. */
async function finished(db: Db): Promise<void> {
  const { build, lease } = await claim(db)
  await lease.markHello()
  await lease.markPushing()
  const provenance = { source_hash: '', buildkit_version: 'v0', timestamp: '' }
  assert.ok(await lease.recordResult(`sha256:${'a'.repeat(64)}`, provenance))
  await transition(db, {
    id: build.id,
    from: ['pushing'],
    to: 'ready',
    set: { completed_at: db.raw('clock_timestamp()') },
  })
}

test('weakness 23: queue length and active builds are there, and right whoever runs the builds', async (t) => {
  const api = await givenApi(t)
  await setSlots(api.db, 2)
  for (let i = 0; i < 5; i += 1) await givenBuild(api.db)
  await claimNext(api.db, 'a worker of another process')
  await claimNext(api.db, 'and one more')
  const text = await scrape(api)
  assert.equal(sampleOf(text, 'hypeman_build_queue_length'), 3)
  assert.equal(sampleOf(text, 'hypeman_builds_active'), 2)
  assert.equal(sampleOf(text, 'hypeman_build_slots', { state: 'used' }), 2)
  assert.equal(sampleOf(text, 'hypeman_build_slots', { state: 'free' }), 0)
  assert.ok((sampleOf(text, 'hypeman_build_queue_oldest_seconds') ?? 0) > 0)
})

test('weakness 36: queue wait, VM boot, push and log lag are measured, not only promised', async (t) => {
  const api = await givenApi(t)
  await setSlots(api.db, 1)
  await givenBuild(api.db)
  const done = new Promise<void>((resolve) => {
    const worker = createWorker({
      db: api.db,
      listener: api.listener,
      log: silent,
      name: 'w1',
      onClaim: api.metrics.build.claimed,
      async run(build) {
        const lease = createLease({ db: api.db, buildId: build.id, token: build.leaseToken })
        await lease.markHello()
        await lease.markPushing()
        await lease.fail({ failureClass: 'registry', error: 'it is full' })
        resolve()
      },
    })
    t.after(() => worker.stop())
    void worker.start()
  })
  await done
  api.metrics.build.booted('qemu', 5_000)
  const text = await scrape(api)
  assert.equal(sampleOf(text, 'hypeman_build_queue_wait_seconds_count'), 1)
  assert.equal(sampleOf(text, 'hypeman_vm_boot_seconds_sum', { runner: 'qemu' }), 5)
  for (const phase of ['queue', 'vm', 'build']) {
    assert.equal(sampleOf(text, 'hypeman_build_phase_duration_seconds_count', { phase }), 1, phase)
  }
  const { labels } = parseSamples(text).find(
    ({ name, value }) => name === 'hypeman_builds_total' && value === 1,
  )!
  assert.deepEqual(labels, { status: 'failed', failure_class: 'registry', origin: 'api' })
})

test('each end of a build is counted once, by the process that wrote it, whatever kind of end', async (t) => {
  const api = await givenApi(t)
  const { db } = api
  await setSlots(db, 5)
  await givenBuild(db)
  await finished(db)
  await givenBuild(db)
  const failing = await claim(db)
  assert.ok(await failing.lease.fail({ failureClass: 'oom', error: 'too big' }))
  assert.equal(await failing.lease.fail({ failureClass: 'oom', error: 'again' }), false)
  const queued = await givenBuild(db)
  assert.equal((await api.call(`/builds/${queued.id}`, { method: 'DELETE' })).status, 204)
  assert.equal((await api.call(`/builds/${queued.id}`, { method: 'DELETE' })).status, 204)
  const lost = await givenBuild(db)
  await claim(db)
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await db('builds')
      .where({ id: lost.id })
      .update({ lease_until: db.raw(`now() - interval '1 s'`) })
    await reap({ db, log: silent })
    if (attempt === 0) await claim(db)
  }

  const text = await scrape(api)
  const total = (labels: Record<string, string>) =>
    sampleOf(text, 'hypeman_builds_total', { origin: 'api', ...labels })
  assert.equal(total({ status: 'ready', failure_class: '' }), 1)
  assert.equal(total({ status: 'failed', failure_class: 'oom' }), 1)
  assert.equal(total({ status: 'failed', failure_class: 'lost' }), 1)
  assert.equal(total({ status: 'cancelled' }), 1)
  assert.equal(sampleOf(text, 'hypeman_builds_requeued_total'), 1)
  assert.equal(sampleOf(text, 'hypeman_build_duration_seconds_count', { status: 'failed' }), 2)
  assert.equal(sampleOf(text, 'hypeman_build_duration_seconds_count', { status: 'ready' }), 1)
  assert.equal(sampleOf(text, 'hypeman_build_phase_duration_seconds_count', { phase: 'push' }), 1)
})

test('two processes that cancel one build count it once between them', async (t) => {
  const api = await givenApi(t)
  const others = createMetrics({ log: silent })
  t.after(() => others.stop())
  const { db, listener } = api
  const otherDb = watchTransitions(db, others.build.moved)
  const store = createBuildStore({ db: otherDb })
  const buildLog = createBuildLog({ db: otherDb, listener })
  const other = createBuilds({
    db: otherDb,
    store,
    queue: createQueue({ db: otherDb, store, buildLog }),
    buildLog,
    registryName: () => 'registry.example',
  })
  const admin = { user: 'ops', tenant: 'acme', admin: true, permissions: undefined, jti: '1' }
  for (let i = 0; i < 10; i += 1) {
    const { id } = await givenBuild(db)
    const { signal } = new AbortController()
    await Promise.all([
      api.call(`/builds/${id}`, { method: 'DELETE' }),
      other.cancel(admin, id, signal),
    ])
  }
  const counts = [await scrape(api), await others.prometheus()].map(
    (text) => sampleOf(text, 'hypeman_builds_total', { status: 'cancelled', origin: 'api' }) ?? 0,
  )
  assert.equal(counts[0]! + counts[1]!, 10)
})

test('a transition that is rolled back is not counted', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await assert.rejects(
    api.db.transaction(async (trx) => {
      await transitionIn(trx, { id, from: ['queued'], to: 'cancelled', set: endColumns(trx) })
      throw new Error('changed my mind')
    }),
  )
  const labels = { status: 'cancelled', origin: 'api' }
  assert.equal(sampleOf(await scrape(api), 'hypeman_builds_total', labels), 0)
})

test('the lag of a followed log is measured for what comes, not for history', async (t) => {
  const api = await givenApi(t)
  await setSlots(api.db, 1)
  await givenBuild(api.db)
  const { build, lease } = await claim(api.db)
  await lease.append([{ type: 'log', line: 'before anybody looks' }])
  const reply = await api.call(`/builds/${build.id}/events?follow=true`)
  const reader = reply.body!.getReader()
  const decoder = new TextDecoder()
  let seen = ''
  const until = async (word: string) => {
    while (!seen.includes(word)) {
      const { value, done } = await reader.read()
      if (done) return
      seen += decoder.decode(value, { stream: true })
    }
  }
  await until('before anybody looks')
  assert.equal(sampleOf(await scrape(api), 'hypeman_log_lag_seconds_count'), undefined)
  assert.equal(sampleOf(await scrape(api), 'hypeman_event_followers'), 1)
  // The follower has seen the end of the log once it waits; a line after that is live.
  let live: number | undefined
  for (let n = 0; live === undefined; n += 1) {
    await lease.append([{ type: 'log', line: `live ${n}` }])
    await until(`live ${n}`)
    live = sampleOf(await scrape(api), 'hypeman_log_lag_seconds_count')
  }
  await lease.fail({ failureClass: 'build', error: 'it broke' })
  while (!(await reader.read()).done);
  assert.equal(sampleOf(await scrape(api), 'hypeman_event_followers'), 0)
})

test('metrics are the operator’s: a tenant’s own token does not read them', async (t) => {
  const api = await givenApi(t)
  const statusWith = async (request: Parameters<TestApi['token']>[0]) =>
    (await api.call('/metrics', { token: await api.token(request) })).status
  assert.equal((await api.call('/metrics', { token: null })).status, 401)
  assert.equal(await statusWith({}), 403)
  assert.equal(await statusWith({ permissions: ['*'] }), 403)
  assert.equal(await statusWith({ permissions: ['metrics:read'] }), 200)
  assert.equal(await statusWith({ admin: true }), 200)
  const narrow = await api.token({ permissions: ['metrics:read'] })
  assert.equal((await api.call('/builds', { token: narrow })).status, 403)
})

test('requests are labelled by route template, never by what the caller typed', async (t) => {
  const api = await givenApi(t)
  const { id } = await givenBuild(api.db)
  await (await api.call(`/builds/${id}`)).text()
  await (await api.call('/builds/nosuchbuild')).text()
  await (await api.call('/typed/by/the/caller')).text()
  await (await api.call('/builds', { method: 'PROPFIND' })).text()
  const samples = parseSamples(await scrape(api)).filter(
    ({ name }) => name === 'hypeman_http_request_duration_seconds_count',
  )
  const seen = samples.map(({ labels }) => `${labels.method} ${labels.route} ${labels.status}`)
  assert.deepEqual(seen.sort(), [
    'GET /builds/{id} 200',
    'GET /builds/{id} 404',
    'GET none 404',
    'other none 405',
  ])
})

test('without the database the gauges are absent and everything else is there', async (t) => {
  const api = await givenApi(t)
  await api.db('slots').first()
  await api.db.schema.renameTable('slots', 'slots_hidden')
  const text = await api.metrics.prometheus()
  assert.equal(sampleOf(text, 'hypeman_build_queue_length'), undefined)
  assert.ok(sampleOf(text, 'process_resident_memory_bytes'))
})
