import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createProgress } from '../../../agent/progress.ts'
import type { EventMessage } from '../../../agent/protocol.ts'
import { linesOf, recorded, replay, stepsOf } from './recorded.ts'

const vertex = (more: object) =>
  JSON.stringify({ vertexes: [{ digest: 'sha256:a', name: '[1/1] RUN x', ...more }] })
const chunk = (data: string | Buffer, stream = 1) =>
  JSON.stringify({
    logs: [{ vertex: 'sha256:a', stream, data: Buffer.from(data).toString('base64') }],
  })
const STARTED = vertex({ started: '2026-01-01T00:00:00Z' })
const DONE = vertex({ started: '2026-01-01T00:00:00Z', completed: '2026-01-01T00:00:02.5Z' })

test('each step of a real build starts once and ends once, numbered in order of its start', () => {
  const steps = stepsOf(replay(recorded('three-stages')).messages)
  const started = steps.filter(({ state }) => state === 'started')
  const done = steps.filter(({ state }) => state === 'done')
  assert.deepEqual(
    started.map(({ n }) => n),
    started.map((_, index) => index + 1),
  )
  assert.deepEqual(started.map(({ n }) => n).sort(), done.map(({ n }) => n).sort())
  assert.equal(started.at(-1)?.name, 'exporting to image')
  const names = started.map(({ name }) => name)
  assert.ok(
    names.indexOf('[base 1/3] COPY busybox /bin/sh') <
      names.indexOf('[stage-2 1/2] RUN echo other'),
  )
})

test('a step that BuildKit restarts lasts from its first start to its last end', () => {
  const { messages } = replay(recorded('three-stages'))
  const push = stepsOf(messages).find((s) => s.name === 'exporting to image' && s.state === 'done')
  assert.equal(push?.duration_ms, 439)
})

test('RUN output comes as whole lines of its step, progress bars as their last state', () => {
  const { messages } = replay(recorded('three-stages'))
  const step = stepsOf(messages).find(({ name }) => name.startsWith('[a 1/1] RUN'))?.n
  const lines = messages.flatMap((m) => (m.type === 'log' && m.step === step ? [m.log] : []))
  assert.deepEqual(lines, [
    'line 1 ä a,b=c',
    'err 1',
    'err 2',
    'line 2 ä a,b=c',
    'line 3 ä a,b=c',
    'err 3',
    'done',
  ])
})

test('the push is announced once, after every build step has ended', () => {
  const { messages } = replay(recorded('three-stages'))
  const statuses = messages.filter(({ type }) => type === 'status')
  assert.deepEqual(statuses, [{ type: 'status', status: 'pushing' }])
  const at = messages.findIndex(({ type }) => type === 'status')
  const after = stepsOf(messages.slice(at)).map(({ name }) => name)
  assert.deepEqual(after, ['exporting to image'])
})

test('a cached step is reported as cached, without a start', () => {
  const steps = stepsOf(replay(recorded('cached')).messages)
  const run = steps.filter(({ name }) => name.startsWith('[one 2/2] RUN'))
  assert.deepEqual(
    run.map(({ state }) => state),
    ['cached'],
  )
})

test('a failing step carries its error, and the excerpt of the Dockerfile follows as log lines', () => {
  const { messages, facts } = replay(recorded('failing-run'))
  const failed = stepsOf(messages).filter(({ state }) => state === 'failed')
  assert.equal(failed.length, 1)
  assert.match(failed[0]?.error ?? '', /exit code: 3$/)
  assert.ok(linesOf(messages).some((line) => line.includes('>>> RUN echo boom')))
  assert.ok(!linesOf(messages).some((line) => line.startsWith('error: ')))
  assert.deepEqual(facts.failed()?.lastLines, ['boom', 'bad'])
})

test('of two parallel steps the one that failed by itself is the culprit, not the cancelled one', () => {
  const { facts } = replay(recorded('parallel-failure'))
  assert.match(facts.failed()?.name ?? '', /exit 7$/)
})

test('characters split over chunks are joined', () => {
  const bytes = Buffer.from('grün\n')
  const { messages } = replay([STARTED, chunk(bytes.subarray(0, 3)), chunk(bytes.subarray(3))])
  assert.deepEqual(linesOf(messages), ['grün'])
})

test('stdout and stderr keep their own unfinished lines', () => {
  const { messages } = replay([STARTED, chunk('out', 1), chunk('err\n', 2), chunk('put\n', 1)])
  assert.deepEqual(linesOf(messages), ['err', 'output'])
})

test('a line without its newline is sent when its step ends', () => {
  const { messages } = replay([STARTED, chunk('prompt> '), DONE])
  const kinds = messages.map((m) => (m.type === 'step' ? m.step.state : m.type))
  assert.deepEqual(kinds, ['started', 'log', 'done'])
})

test('a step that ended is reported soon although nothing else happens', async () => {
  const messages: EventMessage[] = []
  const progress = createProgress((message) => messages.push(message))
  progress.feed(STARTED)
  progress.feed(DONE)
  assert.equal(stepsOf(messages).length, 1)
  await sleep(300)
  assert.equal(stepsOf(messages)[1]?.duration_ms, 2500)
})

test('garbage and unknown fields in the stream break nothing', () => {
  const { messages } = replay(['{"vertexes":17}', '{"new":[]}', '{', STARTED, DONE])
  assert.equal(stepsOf(messages).length, 2)
})

test('the name of a step is cut when a here-document makes it endless', () => {
  const line = vertex({ name: `[1/1] RUN ${'x'.repeat(100_000)}`, started: '2026-01-01T00:00:00Z' })
  const [step] = stepsOf(replay([line]).messages)
  assert.ok(step && step.name.length < 1_100)
})
