// What a build reached, from its sockets to the API: a played guest, the real proxy, real rows.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type BuildResult, EGRESS_PORT } from '../../agent/protocol.ts'
import type { NetworkConnection } from '../../server/builds/connections.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { createBuildEgress } from '../../server/egress/builds.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import type { PodSpec } from '../../server/runners/runner.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { silent } from '../helpers/database.ts'
import { get, listen, tunnel } from '../helpers/egress.ts'
import { bodyOf } from '../helpers/http.ts'
import { givenPipeline } from '../helpers/line-runner.ts'

const RESULT: BuildResult = {
  success: true,
  image_digest: `sha256:${'a'.repeat(64)}`,
  provenance: { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' },
  duration_ms: 1,
}

/** A port of this test that leads to the build's way out, as the runner's sockets do. */
async function wayOut(t: TestContext, spec: PodSpec): Promise<number> {
  const service = spec.services.get(EGRESS_PORT)
  assert.ok(service, 'the build has no way out')
  return listen(t, createServer(service))
}

interface Played {
  api: Awaited<ReturnType<typeof givenApi>>
  id: string
  web: number
  lines: string[]
}

async function givenPlayed(
  t: TestContext,
  steps: (out: number, web: number) => Promise<unknown>,
  { breakRows = false, result = RESULT } = {},
): Promise<Played> {
  const api = await givenApi(t)
  const { db, listener } = api
  await setSlots(db, 1)
  const web = await listen(
    t,
    http.createServer((_req, res) => void res.end('from outside')),
  )
  const build_policy = { network_mode: 'egress' as const, allowed_domains: ['*.example.com'] }
  const { id } = await givenBuild(db, { request: { build_policy } })
  const openEgress = createBuildEgress({
    allowAddresses: ['127.0.0.1'],
    log: silent,
    resolve: async () => ['127.0.0.1'],
  })
  const pipeline = givenPipeline(
    t,
    { db, listener },
    async ({ channel }, spec) => {
      await steps(await wayOut(t, spec), web)
      if (breakRows) {
        await db.raw(`create rule lossy as on insert to build_connections
          where new.n = 2 do instead nothing`)
      }
      await channel.send({ type: 'result', result })
      await channel.finish()
    },
    { openEgress },
  )
  const build = await claimNext(db, 'w')
  await pipeline.run(build!, new AbortController().signal)
  const rows = await db('build_events').where({ build_id: id, type: 'log' }).orderBy('seq')
  return { api, id, web, lines: rows.map(({ content }) => content as string) }
}

const brief = (events: NetworkConnection[]) =>
  events.map((event) => [event.n, event.function, event.host, event.dst_addr])

test('each connection of a build is recorded, in its log, its provenance and the API', async (t) => {
  const { api, id, web, lines } = await givenPlayed(t, async (out, port) => {
    await get(out, `http://a.example.com:${port}/`)
    await get(out, `http://example.org:${port}/`)
    await tunnel(t, out, `example.org:${port}`)
    await get(out, 'http://b.example.com:1/')
  })

  const refusals = lines.filter((line) => line.startsWith('egress refused'))
  assert.deepEqual(refusals, [`egress refused: example.org:${web} is not in allowed_domains`])
  // Without it a base image of a name that does not exist would be told as "Bad Gateway" alone.
  const failures = lines.filter((line) => line.startsWith('egress failed'))
  assert.deepEqual(failures, [
    'egress failed: b.example.com:1: cannot reach the server: connect ECONNREFUSED 127.0.0.1:1',
  ])

  const reply = await api.call(`/builds/${id}/connections`)
  assert.equal(reply.status, 200)
  const { event_count: count, complete, network_connections: events } = await bodyOf(reply)
  assert.equal(count, 5)
  assert.equal(complete, false, 'its tags are not made yet')
  assert.deepEqual(
    brief(events).map(([n]) => n),
    [1, 2, 3, 4, 5],
  )
  assert.deepEqual(
    new Set(brief(events).map(([, ...rest]) => rest.join(' '))),
    new Set([
      'tcp_connect a.example.com 127.0.0.1',
      'tcp_close a.example.com 127.0.0.1',
      'egress_refused example.org ',
      'egress_failed b.example.com ',
    ]),
  )
  const [made] = events
  assert.equal(made.protocol, 'IPPROTO_TCP')
  assert.equal(made.family, 'AF_INET')
  assert.equal(made.dst_port, web)
  const end = events.find((event: NetworkConnection) => event.function === 'tcp_close')
  assert.ok(end.received_bytes > 0)

  const report = lines.filter((line) => line.startsWith('[OBSERVABILITY] '))
  const [first] = report
  assert.equal(
    first,
    '[OBSERVABILITY] === Build Observability Report: 5 events, 1 network connections ===',
  )
  assert.equal(report.at(-1), '[OBSERVABILITY] === End of observability report ===')
  assert.equal(
    report.at(-2),
    `[OBSERVABILITY] summary: 1 connections (a.example.com:${web} 1), 2 refused, 1 failed`,
  )
  const raw = report.filter((line) => line.startsWith('[OBSERVABILITY] {'))
  const { n, attempt, ...event } = made
  assert.deepEqual(JSON.parse(raw[0]!.slice('[OBSERVABILITY] '.length)), event)
  assert.equal(raw.length, 5)
  assert.deepEqual([n, attempt], [1, 1])

  const row = await createBuildStore({ db: api.db }).get(id)
  assert.deepEqual(row?.provenance?.network, {
    mode: 'egress',
    allowed_domains: ['*.example.com'],
    event_count: 5,
    connections: 1,
    refused: 2,
    failed: 1,
    hosts: [{ host: 'a.example.com', port: web, connections: 1 }],
  })
})

test('connections come in pages, and as NDJSON all at once', async (t) => {
  const { api, id } = await givenPlayed(t, async (out, port) => {
    for (let n = 0; n < 3; n += 1) await get(out, `http://a${n}.example.org:${port}/`)
  })
  const first = await bodyOf(await api.call(`/builds/${id}/connections?limit=2`))
  assert.equal(first.event_count, 3)
  assert.equal(first.network_connections.length, 2)
  const next = await bodyOf(await api.call(`/builds/${id}/connections?after=${first.next_after}`))
  assert.deepEqual(
    brief(next.network_connections).map(([n]) => n),
    [3],
  )
  assert.equal(next.next_after, undefined)

  const headers = { accept: 'application/x-ndjson' }
  const reply = await api.call(`/builds/${id}/connections`, { headers })
  assert.equal(reply.headers.get('content-type'), 'application/x-ndjson')
  const lines = (await reply.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(lines, [...first.network_connections, ...next.network_connections])

  const stranger = await api.token({ sub: 'eve', tenant: 'other' })
  const foreign = await api.call(`/builds/${id}/connections`, { token: stranger })
  assert.equal(foreign.status, 404)
})

test('a tunnel that is open when a build ends is recorded to its end', async (t) => {
  const { api, id } = await givenPlayed(t, async (out, port) => {
    const { socket } = await tunnel(t, out, `a.example.com:${port}`)
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await once(socket, 'readable')
  })
  const { network_connections: events } = await bodyOf(await api.call(`/builds/${id}/connections`))
  assert.deepEqual(
    brief(events).map(([, what]) => what),
    ['tcp_connect', 'tcp_close'],
  )
})

test('events that were promised and are missing fail the build, and later the answer', async (t) => {
  const refuse = async (out: number, port: number) => {
    await get(out, `http://a.example.org:${port}/`)
    await get(out, `http://b.example.org:${port}/`)
  }
  const lossy = await givenPlayed(t, refuse, { breakRows: true })
  const row = await createBuildStore({ db: lossy.api.db }).get(lossy.id)
  assert.equal(row?.status, 'failed')
  assert.equal(row?.failureClass, 'infra')
  assert.match(row?.error ?? '', /not all recorded: 2 events were promised, 1 are stored/)

  const whole = await givenPlayed(t, refuse)
  await whole.api.db('build_connections').where({ build_id: whole.id, n: 1 }).delete()
  for (const accept of ['application/json', 'application/x-ndjson']) {
    const reply = await whole.api.call(`/builds/${whole.id}/connections`, { headers: { accept } })
    assert.equal(reply.status, 500)
    const { code, message } = await bodyOf(reply)
    assert.equal(code, 'connections_incomplete')
    assert.match(message, /2 connection events were promised, 1 are there/)
  }
})

test('connections the agent has named and the host has not seen fail the build', async (t) => {
  const result = { ...RESULT, network_connections: 3 }
  const { api, id } = await givenPlayed(t, async () => {}, { result })
  const row = await createBuildStore({ db: api.db }).get(id)
  assert.equal(row?.failureClass, 'infra')
  assert.match(row?.error ?? '', /not all recorded: the agent named 3, 0 came here/)
})

test('a build that reached nothing says nothing of it', async (t) => {
  const { api, id, lines } = await givenPlayed(t, async () => {})
  assert.deepEqual(
    lines.filter((line) => line.includes('OBSERVABILITY')),
    [],
  )
  const page = await bodyOf(await api.call(`/builds/${id}/connections`))
  assert.deepEqual(page, { event_count: 0, complete: false, network_connections: [] })
})
