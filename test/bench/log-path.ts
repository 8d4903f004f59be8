// Log lines per second through the whole path: agent's message → pipeline → log writer → PostgreSQL → SSE,
// with and without a reader, beside the same rows put into the same table and nothing else.

import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AgentMessage, PROTOCOL_VERSION } from '../../agent/protocol.ts'
import { rows } from '../../server/db/pool.ts'
import { LOG_BATCH_LINES_MAX } from '../../server/limits.ts'
import type { Runner } from '../../server/runners/runner.ts'
import { quietPipeline } from '../helpers/pipeline.ts'
import { type BusyServer, startBusyServer } from './busy-server.ts'
import { perSecond, table, times } from './figures.ts'
import { openSse, type SseClient } from './sse-client.ts'

const LINES = 50_000
const LINE = 'x'.repeat(80)
const READERS = [0, 1, 10]

export async function run(): Promise<void> {
  const server = await startBusyServer()
  try {
    const rawMs = await rawInsert(server)
    const out = [['what', 'lines', 'ratio to the bare insert']]
    out.push(['bare insert of the same rows', perSecond(LINES, rawMs), ''])
    for (const readers of READERS) {
      const ms = await wholePath(server, readers)
      out.push([`whole path, ${readers} readers`, perSecond(LINES, ms), times(rawMs, ms)])
    }
    console.log(`${LINES} lines of ${LINE.length} bytes; until the last reader has the last line`)
    console.log(table(out))
  } finally {
    await server.stop()
  }
}

async function rawInsert({ db, running }: BusyServer): Promise<number> {
  const { id } = await running()
  const started = performance.now()
  for (let first = 10; first < LINES + 10; first += LOG_BATCH_LINES_MAX) {
    await rows(
      db,
      `insert into build_events (build_id, seq, type, content)
       select cast(? as text), cast(? as int) + e.n, 'log', e.content
       from unnest(cast(? as text[])) with ordinality as e (content, n)`,
      [id, first, Array.from({ length: LOG_BATCH_LINES_MAX }, () => LINE)],
    )
  }
  return performance.now() - started
}

async function wholePath(server: BusyServer, readers: number): Promise<number> {
  const { db, listener, token, process } = server
  const build = await server.running()
  const agent = await startAgent(build.id)
  const pipeline = quietPipeline({
    db,
    listener,
    runner: runnerOf(agent.dial),
    buildTimeoutSeconds: 600,
  })
  const url = `${process.url}/builds/${build.id}/events?follow=true`
  let received = 0
  const onFrame = (frame: string) => {
    if (frame.includes(LINE)) received += 1
  }
  const clients: SseClient[] = []
  for (let i = 0; i < readers; i += 1) clients.push(await openSse(url, token, onFrame))
  const started = performance.now()
  await pipeline.run(build, new AbortController().signal)
  await Promise.all(clients.map(({ ended }) => ended))
  const took = performance.now() - started
  await agent.stop()
  if (received !== readers * LINES)
    throw new Error(`${received} of ${readers * LINES} lines arrived`)
  return took
}

/** Says hello, then all lines as fast as they are taken, then that the build has failed. */
async function startAgent(jobId: string) {
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  const path = join(dir, 'agent.sock')
  const server = createServer((socket) => {
    socket.on('error', () => {}) // the host hangs up when it has the result
    void talk(socket, jobId)
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    dial: async () => {
      const socket = connect(path)
      await once(socket, 'connect')
      return socket
    },
    async stop() {
      server.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

async function talk(socket: Socket, jobId: string): Promise<void> {
  const send = (message: AgentMessage) => socket.write(`${JSON.stringify(message)}\n`)
  send({ type: 'hello', protocol: PROTOCOL_VERSION, job_id: jobId, boot_ms: 1 })
  await once(socket, 'data')
  send({ seq: 1, type: 'status', status: 'building' })
  for (let seq = 2; seq < LINES + 2; seq += 1) {
    if (!send({ seq, type: 'log', log: LINE })) await once(socket, 'drain')
  }
  const provenance = { source_hash: '', buildkit_version: '', timestamp: '' }
  const failed = { success: false, error: 'that was all', failure_class: 'build' as const }
  send({ seq: LINES + 2, type: 'result', result: { ...failed, provenance, duration_ms: 1 } })
}

function runnerOf(dial: () => Promise<Socket>): Runner {
  return {
    name: 'bench',
    boundary: 'machine',
    releaseData: async () => ({}),
    unusableReason: async () => null,
    start: async ({ id }) => ({
      id,
      detail: 'no VM',
      connect: dial,
      exited: new Promise(() => {}),
      console: () => '',
      stop: async () => {},
    }),
    sweep: async () => [],
    close: async () => {},
  }
}
