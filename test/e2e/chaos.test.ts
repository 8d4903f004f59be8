// The short form of `npm run test:chaos`: each kind of fault once, in an order of the seed's.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runChaos } from '../chaos/run.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'

const SEED = 7

test(`clients that push and cancel while everything is killed find every promise kept, seed ${SEED}`, async (t) => {
  const lines: string[] = []
  const { findings, summary, logs } = await runChaos({
    seed: SEED,
    durationMs: 35_000,
    clients: 4,
    workers: 2,
    runner: await fastestRunner(),
    gapMs: { min: 2_000, max: 3_000 },
    faultMsMax: 5_000,
    isShort: true,
    say: (line) => void lines.push(line),
  })
  t.diagnostic(`seed ${SEED}: ${summary.lines.join('; ')}`)
  const found = findings.map(({ invariant, what }) => `${invariant}: ${what}`)
  assert.deepEqual(found, [], `seed ${SEED}, logs: ${logs}\n${lines.join('\n')}`)
  assert.ok(summary.pushes > 0 && summary.builds > 0)
  assert.deepEqual(summary.missed, [], `seed ${SEED}: each kind of fault has broken something`)
})
