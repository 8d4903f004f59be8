// The transcript as a whole, and what must never pass into a terminal.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Build, BuildEvent } from '../../../server/builds/schema.ts'
import { sanitizeLine } from '../../../server/git/sanitize.ts'
import { createTranscript } from '../../../server/git/transcript.ts'
import { duration } from '../../../server/git/transcript-grammar.ts'

const links = { baseUrl: 'http://host:8083' }

type Happening = BuildEvent extends infer E
  ? E extends unknown
    ? Omit<E, 'seq' | 'at'>
    : never
  : never

function play(events: readonly Happening[]): string[] {
  const transcript = createTranscript({ buildId: 'abc', links })
  return events.flatMap((event, i) =>
    transcript.event({ ...event, seq: i + 1, at: new Date(0) } as BuildEvent),
  )
}

const step = (n: number, name: string, state: 'started' | 'done' | 'cached' | 'failed', ms = 0) =>
  ({
    type: 'step',
    step: { n, name, state, ...(state === 'done' ? { duration_ms: ms } : {}) },
  }) as const

test('a build reads from top to bottom', () => {
  assert.deepEqual(
    play([
      { type: 'status', status: 'queued' },
      { type: 'status', status: 'building' },
      { type: 'log', line: 'Builder VM ready in 5.1 s (qemu, tcg)' },
      step(1, '[internal] load build definition from Dockerfile', 'started'),
      step(1, '[internal] load build definition from Dockerfile', 'done', 12),
      step(2, '[1/3] FROM docker.io/library/node:20', 'cached'),
      step(3, '[2/3] RUN npm ci', 'started'),
      { type: 'log', line: 'added 3 packages', step: 3 },
      { type: 'log', line: '', step: 3 },
      step(3, '[2/3] RUN npm ci', 'done', 65_400),
      { type: 'status', status: 'pushing' },
      { type: 'status', status: 'ready' },
    ]),
    [
      '-----> Starting the builder',
      '       Builder VM ready in 5.1 s (qemu, tcg)',
      '-----> [internal] load build definition from Dockerfile DONE 0.0s',
      '-----> [1/3] FROM docker.io/library/node:20 (CACHED)',
      '-----> [2/3] RUN npm ci',
      '       added 3 packages',
      '',
      '       DONE 1m05s',
      '-----> Pushing image',
    ],
  )
})

test('steps that run at the same time name themselves when the output changes hands', () => {
  assert.deepEqual(
    play([
      step(1, '[a 1/1] RUN one', 'started'),
      step(2, '[b 1/1] RUN two', 'started'),
      { type: 'log', line: 'from one', step: 1 },
      { type: 'log', line: 'from two', step: 2 },
      { type: 'log', line: 'two again', step: 2 },
      step(1, '[a 1/1] RUN one', 'done', 900),
      step(2, '[b 1/1] RUN two', 'done', 1100),
    ]),
    [
      '-----> [a 1/1] RUN one',
      '-----> [b 1/1] RUN two',
      '-----> [a 1/1] RUN one (continued)',
      '       from one',
      '-----> [b 1/1] RUN two (continued)',
      '       from two',
      '       two again',
      '-----> [a 1/1] RUN one DONE 0.9s',
      '       DONE 1.1s',
    ],
  )
})

test('another attempt says why, and starts with a clean slate', () => {
  const transcript = createTranscript({ buildId: 'abc', links, now: () => 0 })
  const happen = (event: Happening) =>
    transcript.event({ ...event, seq: 1, at: new Date(0) } as never)
  happen({ type: 'status', status: 'building' })
  happen(step(1, '[1/1] RUN x', 'started'))
  assert.match(transcript.heartbeat()[0]!, /still running: \[1\/1\] RUN x/)
  const said = happen({ type: 'attempt', attempt: 2, reason: 'the worker was lost' })
  assert.deepEqual(said, ['-----> Attempt 2: the worker was lost'])
  happen({ type: 'status', status: 'queued' })
  assert.deepEqual(transcript.heartbeat(3), ['       … queued, position 3 (0.0s)'])
  happen({ type: 'status', status: 'pushing' })
  assert.deepEqual(transcript.heartbeat(), ['       … pushing the image (0.0s)'])
})

test('a build that is handed back while a step runs waits, and the step does not run on', () => {
  const transcript = createTranscript({ buildId: 'abc', links, now: () => 0 })
  const happen = (event: Happening) =>
    transcript.event({ ...event, seq: 1, at: new Date(0) } as never)
  happen({ type: 'status', status: 'building' })
  happen(step(1, '[1/1] RUN x', 'started'))
  happen({ type: 'status', status: 'queued' })
  assert.deepEqual(transcript.heartbeat(1), ['       … queued, position 1 (0.0s)'])
})

test('a push does not show every connection twice: as data it is in the log alone', () => {
  const line = (text: string): Happening => ({ type: 'log', line: `[OBSERVABILITY] ${text}` })
  const forPeople = ['network: tcp_connect /bin/curl 127.0.0.1:40 -> 1.2.3.4:443 (IPPROTO_TCP)']
  const said = play([...forPeople.map(line), line('{"function":"tcp_connect"}')])
  assert.deepEqual(said, [`       [OBSERVABILITY] ${forPeople[0]}`])
})

test('a sign of life says for how long it has been going on', () => {
  let now = 0
  const transcript = createTranscript({ buildId: 'abc', links, now: () => now })
  transcript.event({ ...step(1, 'RUN x', 'started'), seq: 1, at: new Date(0) })
  now = 90_000
  assert.deepEqual(transcript.heartbeat(), ['       … still running: RUN x (1m30s)'])
})

test('every ending names the build and what to do', () => {
  const base: Build = { id: 'abc', status: 'ready', attempt: 1, created_at: '' }
  const ending = (build: Partial<Build>) =>
    createTranscript({ buildId: 'abc', links })
      .ending({ ...base, ...build })
      .join('\n')
  assert.match(
    ending({
      created_at: '2026-01-31T12:00:00.000Z',
      completed_at: '2026-01-31T12:01:18.100Z',
      duration_ms: 38_100,
      phases: { queue_ms: 40_000, vm_ms: 600, build_ms: 33_000, push_ms: 4500 },
    }),
    /^success: build abc ready in 1m18s \(queue 40\.0s, vm 0\.6s, build 33\.0s, push 4\.5s\)$/m,
  )
  assert.equal(ending({ status: 'cancelled' }), 'error: build abc was cancelled')
  for (const failure_class of [
    'build',
    'source',
    'timeout',
    'oom',
    'disk',
    'registry',
    'infra',
    'lost',
  ] as const) {
    const text = ending({
      status: 'failed',
      failure_class,
      error: 'reason\u001b[2J\nerror: forged',
    })
    assert.match(
      text,
      new RegExp(
        `^error: build abc failed: reason error: forged \\(class ${failure_class}\\)$`,
        'm',
      ),
    )
    assert.match(text, /^hint: /m)
  }
})

test('nothing that steers a terminal, and no line break, survives', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), (line) => {
      const clean = sanitizeLine(line)
      assert.doesNotMatch(
        clean,
        /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/,
      )
      assert.ok(clean.length < 1100)
      assert.doesNotMatch(clean, /\p{Surrogate}/u)
    }),
  )
  assert.equal(sanitizeLine('a\tb'), 'a\tb')
  assert.equal(sanitizeLine('\u001b[1;31mx\u001b[m\u001b(B y \u001b[?25lz'), 'x y z')
  assert.equal(sanitizeLine('\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\'), 'link')
  assert.equal(sanitizeLine('50%\r100%'), '100%')
})

test('times are short', () => {
  assert.deepEqual([0, 49, 999, 59_900, 60_000, 125_000].map(duration), [
    '0.0s',
    '0.0s',
    '1.0s',
    '59.9s',
    '1m00s',
    '2m05s',
  ])
})
