// How long a line takes from its appending to each of 1, 50 and 200 followers of one running build, beside a
// bare node:http server that keeps nothing and sends the line to all its readers.
import { setTimeout as sleep } from 'node:timers/promises'
import { createLease } from '../../server/queue/lease.ts'
import { startBareServer } from './bare-server.ts'
import { type BusyServer, startBusyServer } from './busy-server.ts'
import { percentile, shortMs, table, times } from './figures.ts'
import { openSse } from './sse-client.ts'

const FOLLOWERS = [1, 50, 200]
const LINES = 100
const LINE_EVERY_MS = 40
const ARRIVAL_DEADLINE_MS = 10_000

interface Source {
  url: string
  token: string
  append(line: string): Promise<unknown>
}

export async function run(): Promise<void> {
  const server = await startBusyServer()
  const bare = await startBareServer()
  try {
    const out = [['followers', 'p50', 'p99', 'bare p50', 'bare p99', 'p50 ratio', 'p99 ratio']]
    for (const followers of FOLLOWERS) {
      const ours = await latencies(followers, await ourSource(server))
      const plain = await latencies(followers, {
        url: `${bare.url}/events`,
        token: '',
        append: (line) => fetch(`${bare.url}/append`, { method: 'POST', body: line }),
      })
      const [p50, p99] = [percentile(ours, 0.5), percentile(ours, 0.99)]
      const [bare50, bare99] = [percentile(plain, 0.5), percentile(plain, 0.99)]
      const shown = [p50, p99, bare50, bare99].map(shortMs)
      out.push([String(followers), ...shown, times(p50, bare50), times(p99, bare99)])
    }
    console.log(
      `${LINES} lines, one every ${LINE_EVERY_MS} ms; appended → received by each follower`,
    )
    console.log(table(out))
  } finally {
    await bare.stop()
    await server.stop()
  }
}

async function ourSource({ running, db, process, token }: BusyServer): Promise<Source> {
  const { id, leaseToken } = await running()
  const lease = createLease({ db, buildId: id, token: leaseToken })
  return {
    url: `${process.url}/builds/${id}/events?follow=true`,
    token,
    append: (line) => lease.append([{ type: 'log', line }]),
  }
}

async function latencies(followers: number, { url, token, append }: Source): Promise<number[]> {
  const found: number[] = []
  const sent: number[] = []
  const onFrame = (frame: string) => {
    const [, n] = /line-(\d+)-/.exec(frame) ?? []
    if (n !== undefined) found.push(performance.now() - sent[Number(n)]!)
  }
  const clients = await Promise.all(
    Array.from({ length: followers }, () => openSse(url, token, onFrame)),
  )
  await sleep(1_000) // until each has read what there is
  for (let n = 0; n < LINES; n += 1) {
    sent[n] = performance.now()
    await append(`line-${n}-${'x'.repeat(60)}`)
    await sleep(LINE_EVERY_MS)
  }
  const late = performance.now() + ARRIVAL_DEADLINE_MS
  while (found.length < LINES * followers && performance.now() < late) await sleep(20)
  for (const client of clients) client.close()
  if (found.length < LINES * followers) {
    throw new Error(`${found.length} of ${LINES * followers} lines arrived`)
  }
  return found
}
