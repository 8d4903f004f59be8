// The history report against figures computed by hand.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BuildStatus, FailureClass } from '../../server/builds/schema.ts'
import type { Db } from '../../server/db/pool.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf } from '../helpers/http.ts'

interface Past {
  at: string
  status: string
  failureClass?: string
  queueMs?: number
  durationMs?: number
  tenant?: string
  app?: string
  /** Where its steps are from, how many are cached, and how many there are. */
  cache?: ['builder' | 'registry' | 'mixed' | 'none', number, number]
}

async function givenPast(db: Db, past: Past): Promise<void> {
  const { tenant = 'acme', app = 'web' } = past
  const { id } = await givenBuild(db, { tenant, app })
  const created = Date.parse(past.at)
  const started = past.queueMs === undefined ? undefined : created + past.queueMs
  const isDone = ['ready', 'failed', 'cancelled'].includes(past.status)
  await db('builds')
    .where({ id })
    .update({
      status: past.status,
      failure_class: past.failureClass ?? null,
      created_at: new Date(created),
      started_at: started === undefined ? null : new Date(started),
      claimed_at: started === undefined ? null : new Date(started),
      provenance: past.cache
        ? JSON.stringify({
            cache: {
              source: past.cache[0],
              steps_cached: past.cache[1],
              steps_total: past.cache[2],
              imported: [],
            },
          })
        : null,
      completed_at: isDone ? new Date((started ?? created) + (past.durationMs ?? 0)) : null,
    })
}

// Day 1: four builds, and one more of another app and of another tenant. Day 2: none. Day 3: three.
const HISTORY: Past[] = [
  {
    at: '2026-03-01T00:00:00.000Z',
    status: 'ready',
    queueMs: 100,
    durationMs: 1000,
    cache: ['none', 0, 6],
  },
  {
    at: '2026-03-01T08:00:00Z',
    status: 'ready',
    queueMs: 400,
    durationMs: 4000,
    cache: ['mixed', 5, 7],
  },
  { at: '2026-03-01T09:00:00Z', status: 'ready', queueMs: 200, durationMs: 3000 },
  {
    at: '2026-03-01T23:00:00Z',
    status: 'failed',
    failureClass: 'build',
    queueMs: 300,
    durationMs: 2000,
  },
  { at: '2026-03-01T12:00:00Z', status: 'ready', queueMs: 50, durationMs: 60_000, app: 'api' },
  { at: '2026-03-01T12:00:00Z', status: 'ready', queueMs: 9, durationMs: 9, tenant: 'other' },
  { at: '2026-03-03T10:00:00Z', status: 'cancelled' },
  { at: '2026-03-03T11:00:00Z', status: 'queued' },
  {
    at: '2026-03-03T23:59:59.999Z',
    status: 'failed',
    failureClass: 'timeout',
    queueMs: 1000,
    durationMs: 10_000,
  },
  // outside of the days asked for
  { at: '2026-02-28T23:59:59.999Z', status: 'ready', queueMs: 1, durationMs: 1 },
  { at: '2026-03-04T00:00:00.000Z', status: 'ready', queueMs: 1, durationMs: 1 },
]

const CACHE = {
  steps_total: 13,
  steps_cached: 5,
  by_source: { builder: 0, registry: 0, mixed: 1, none: 1 },
}

const RANGE = 'from=2026-03-01&to=2026-03-03'

function counts(names: readonly string[], some: Record<string, number>) {
  return { ...Object.fromEntries(names.map((name) => [name, 0])), ...some }
}

function figures(byStatus: Record<string, number>, byClass: Record<string, number> = {}) {
  return {
    builds: Object.values(byStatus).reduce((sum, n) => sum + n, 0),
    by_status: counts(BuildStatus.options, byStatus),
    by_failure_class: counts(FailureClass.options, byClass),
  }
}

async function givenHistory(...args: Parameters<typeof givenApi>) {
  const api = await givenApi(...args)
  for (const past of HISTORY) await givenPast(api.db, past)
  return api
}

test('each day has its counts, rates and percentiles, an empty day its zeros, and the total its own percentiles', async (t) => {
  const { call } = await givenHistory(t)
  const reply = await call(`/reports/builds?${RANGE}&app=web`)
  assert.equal(reply.status, 200)
  assert.deepEqual(await bodyOf(reply), {
    from: '2026-03-01',
    to: '2026-03-03',
    bucket: 'day',
    tenant: 'acme',
    app: 'web',
    total: {
      ...figures({ ready: 3, failed: 2, cancelled: 1, queued: 1 }, { build: 1, timeout: 1 }),
      success_rate: 0.6,
      // 1000 2000 3000 4000 10000: the middle, and 0.8 of the way from 4000 to 10000
      duration_ms: { p50: 3000, p95: 8800 },
      queue_ms: { p50: 300, p95: 880 },
      cache: CACHE,
    },
    buckets: [
      {
        start: '2026-03-01',
        ...figures({ ready: 3, failed: 1 }, { build: 1 }),
        success_rate: 0.75,
        // 1000 2000 3000 4000: half way between 2000 and 3000, and 0.85 of the way from 3000 to 4000
        duration_ms: { p50: 2500, p95: 3850 },
        queue_ms: { p50: 250, p95: 385 },
        cache: CACHE,
      },
      { start: '2026-03-02', ...figures({}) },
      {
        start: '2026-03-03',
        ...figures({ cancelled: 1, queued: 1, failed: 1 }, { timeout: 1 }),
        success_rate: 0,
        duration_ms: { p50: 10_000, p95: 10_000 },
        queue_ms: { p50: 1000, p95: 1000 },
      },
    ],
  })
})

test('the same as CSV: one row per day, the same columns always, nothing where there is no figure', async (t) => {
  const { call } = await givenHistory(t)
  const reply = await call(`/reports/builds?${RANGE}&app=web&format=csv`)
  assert.equal(reply.headers.get('content-type'), 'text/csv; charset=utf-8')
  assert.equal(
    reply.headers.get('content-disposition'),
    'attachment; filename="builds-2026-03-01-2026-03-03.csv"',
  )
  assert.equal(
    await reply.text(),
    [
      'start,builds,queued,building,pushing,ready,failed,cancelled,' +
        'failed_build,failed_source,failed_timeout,failed_oom,failed_disk,failed_registry,failed_infra,failed_lost,' +
        'success_rate,duration_p50_ms,duration_p95_ms,queue_p50_ms,queue_p95_ms,' +
        'steps_total,steps_cached,cache_builder,cache_registry,cache_mixed,cache_none',
      '2026-03-01,4,0,0,0,3,1,0,1,0,0,0,0,0,0,0,0.75,2500,3850,250,385,13,5,0,0,1,1',
      '2026-03-02,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,,,,,,,,,,,',
      '2026-03-03,3,1,0,0,0,1,1,0,0,1,0,0,0,0,0,0,10000,10000,1000,1000,,,,,,',
      '',
    ].join('\n'),
  )
})

test('a tenant sees its own builds, an admin all or those of one tenant', async (t) => {
  const { call, token } = await givenHistory(t)
  const total = async (query: string, who?: string) =>
    (await bodyOf(await call(`/reports/builds?${RANGE}${query}`, who ? { token: who } : {}))).total
  assert.equal((await total('')).builds, 8)
  const other = await token({ sub: 'bob', tenant: 'other' })
  assert.equal((await total('', other)).builds, 1)
  const admin = await token({ sub: 'root', tenant: 'operators', admin: true })
  assert.equal((await total('', admin)).builds, 9)
  assert.equal((await total('&tenant=other', admin)).builds, 1)
  assert.equal((await total('&app=nothing')).builds, 0)
  const refused = await call(`/reports/builds?${RANGE}&tenant=acme`, { token: other })
  assert.equal(refused.status, 403)
  const writer = await token({ permissions: ['build:write'] })
  assert.equal((await call('/reports/builds', { token: writer })).status, 403)
})

test('without days it covers the last 30, today included, and may start or end anywhere', async (t) => {
  const { call } = await givenHistory(t, { now: () => Date.parse('2026-03-30T23:30:00Z') })
  const ask = async (query: string) => bodyOf(await call(`/reports/builds?${query}`))
  const usual = await ask('')
  assert.equal(usual.from, '2026-03-01')
  assert.equal(usual.to, '2026-03-30')
  assert.equal(usual.buckets.length, 30)
  assert.equal((await ask('to=2026-03-01')).from, '2026-01-31')
  assert.equal((await ask('from=2026-03-29')).buckets.length, 2)
})

test('days are UTC days whatever time zone the database session has, also where clocks change', async (t) => {
  const { call, db } = await givenHistory(t)
  const current = await db.raw('select current_database() as name')
  // East and west of UTC; both change their clocks within the days asked for.
  for (const zone of ['Pacific/Auckland', 'America/New_York']) {
    await db.raw(`alter database ${current.rows[0].name} set timezone to '${zone}'`)
    // Connections take it over when they are made.
    await db.destroy()
    db.initialize()
    const shown = await db.raw('show timezone')
    assert.equal(shown.rows[0].TimeZone, zone)
    const days = async (range: string) => {
      const report = await bodyOf(await call(`/reports/builds?${range}&app=web`))
      return report.buckets.map((bucket: { builds: number }) => bucket.builds)
    }
    assert.deepEqual(await days(RANGE), [4, 0, 3], zone)
    assert.deepEqual(await days('from=2026-02-28&to=2026-03-04'), [1, 4, 0, 3, 1], zone)
    const spring = await days('from=2026-03-04&to=2026-04-10')
    assert.deepEqual([spring.length, spring[0]], [38, 1], zone)
  }
})

test('days that are none, the wrong way round or too many are refused with the reason', async (t) => {
  const { call } = await givenApi(t)
  const cases: [string, RegExp][] = [
    ['from=yesterday', /^query from="yesterday": must be a day/],
    ['from=2026-02-30', /^query from="2026-02-30": must be a day/],
    ['from=2026-03-02&to=2026-03-01', /^query from="2026-03-02": is after to="2026-03-01"$/],
    [
      'from=2020-01-01&to=2026-01-01',
      /^query from="2020-01-01": 2193 days until 2026-01-01; at most 366$/,
    ],
    ['bucket=hour', /^query bucket="hour"/],
    ['format=xml', /^query format="xml"/],
    ['form=json', /^query form="json": is not known here/],
  ]
  for (const [query, message] of cases) {
    const reply = await call(`/reports/builds?${query}`)
    assert.equal(reply.status, 400, query)
    assert.match((await bodyOf(reply)).message, message)
  }
})
