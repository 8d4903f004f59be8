// The numbered log over real rows: order, following, resuming, the cap.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents, readEvents } from '../../server/builds/event-store.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import type { BuildEvent } from '../../server/builds/schema.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import { createLogWriter } from '../../server/pipeline/log-writer.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'

const never = new AbortController().signal

async function collect(events: AsyncIterable<BuildEvent>): Promise<BuildEvent[]> {
  const all: BuildEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

test('numbers have no gap and no reader misses one, however many append at once', async (t) => {
  const { db, listener } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const log = createBuildLog({ db, listener })
  const following = collect(log.follow(id, 0, never))
  const writers = Array.from({ length: 8 }, async (_, w) => {
    for (let i = 0; i < 25; i += 1) {
      await appendEvents(db, id, [
        { type: 'log', line: `${w}:${i}:a` },
        { type: 'log', line: `${w}:${i}:b` },
      ])
    }
  })
  await Promise.all(writers)
  await transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })
  const events = await following
  assert.deepEqual(
    events.map((event) => event.seq),
    Array.from({ length: 402 }, (_, i) => i + 1),
  )
  assert.deepEqual(events.at(-1), { ...events.at(-1), type: 'status', status: 'cancelled' })
})

test('a follower resumes behind a number, and one behind the end of a finished build ends at once', async (t) => {
  const { db, listener } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  await appendEvents(db, id, [
    { type: 'log', line: 'one' },
    { type: 'log', line: 'two', step: 3 },
  ])
  await transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })
  const log = createBuildLog({ db, listener })
  const rest = await collect(log.follow(id, 2, never))
  assert.deepEqual(
    rest.map(({ at: _, ...event }) => event),
    [
      { seq: 3, type: 'log', line: 'two', step: 3 },
      { seq: 4, type: 'status', status: 'cancelled' },
    ],
  )
  assert.deepEqual(await collect(log.follow(id, 4, never)), [])
})

test('a follower hears of a line without waiting for the poll', async (t) => {
  const { db, listener } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const log = createBuildLog({ db, listener })
  const abort = new AbortController()
  const heard: number[] = []
  const following = (async () => {
    for await (const event of log.follow(id, 1, abort.signal)) {
      if (event.type === 'log') heard.push(Date.now() - Number(event.line))
    }
  })()
  await sleep(1200)
  for (let i = 0; i < 3; i += 1) {
    await appendEvents(db, id, [{ type: 'log', line: String(Date.now()) }])
    await sleep(150)
  }
  abort.abort()
  await following
  assert.equal(heard.length, 3)
})

test('NUL and other odd bytes of a build cannot break the log', async (t) => {
  const { db } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const name = 'RUN a\u0000b'
  await appendEvents(db, id, [
    { type: 'log', line: 'a\u0000b\u0007ü\ud800' },
    { type: 'step', step: { n: 1, name, state: 'started' } },
  ])
  // A literal backslash-u-0000 is text like any other; half a character is none.
  const named = { n: 2, name: String.raw`RUN printf '\u0000'`, state: 'started' } as const
  await appendEvents(db, id, [
    { type: 'step', step: named },
    { type: 'step', step: { n: 3, name: 'half \ud800', state: 'started' } },
  ])
  const [, line, step, literal, half] = await readEvents(db, id, 0, 10)
  assert.deepEqual(literal?.type === 'step' && literal.step, named)
  assert.equal(half?.type === 'step' && half.step.name, 'half \ufffd')
  assert.equal(line?.type === 'log' && line.line.startsWith('ab'), true)
  assert.equal(step?.type === 'step' && step.step.name, 'RUN ab')
})

test('a page of long lines is bounded in bytes, and nothing is skipped', async (t) => {
  const { db, listener } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const line = 'x'.repeat(300_000)
  for (let i = 0; i < 8; i += 1) await appendEvents(db, id, [{ type: 'log', line }])
  assert.ok((await readEvents(db, id, 0, 1000)).length < 6)
  await transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })
  const events = await collect(createBuildLog({ db, listener }).follow(id, 0, never))
  assert.equal(events.length, 10)
})

test('a log over its cap keeps head and tail and names the cut', async (t) => {
  const { db } = await givenDatabase(t)
  const { id } = await givenBuild(db)
  const writer = createLogWriter({
    append: (events) => appendEvents(db, id, events),
    headBytesMax: 1000,
    tailBytesMax: 500,
  })
  for (let i = 0; i < 500; i += 1) await writer.write({ type: 'log', line: `line ${i}` })
  await writer.write({ type: 'step', step: { n: 1, name: 'RUN x', state: 'done' } })
  await writer.close()
  const events = await readEvents(db, id, 0, 1000)
  const lines = events.flatMap((event) => (event.type === 'log' ? [event.line] : []))
  assert.equal(lines[0], 'line 0')
  assert.equal(lines.at(-1), 'line 499')
  const cut = lines.find((line) => line.includes('cut here'))
  const shown = lines.filter((line) => line.startsWith('line '))
  assert.equal(cut, `… ${500 - shown.length} lines (${cutBytes(shown)} bytes) cut here …`)
  assert.equal(
    events.some((event) => event.type === 'step'),
    true,
  )
})

function cutBytes(shown: string[]): number {
  const kept = new Set(shown)
  let bytes = 0
  for (let i = 0; i < 500; i += 1) if (!kept.has(`line ${i}`)) bytes += `line ${i}`.length + 1
  return bytes
}
