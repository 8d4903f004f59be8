// The first moment of a sandbox.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { untilBound } from '../../../server/runners/bubblewrap-launch.ts'

const YOUNG = 'State:\tR (running)\nSeccomp:\t0\n'

test('a sandbox whose work is done while it is being looked at was made, and is no failure', async () => {
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  let looks = 0
  await untilBound(ended, async () => {
    looks += 1
    if (looks > 1) return undefined
    end()
    await sleep(5)
    return YOUNG
  })
  assert.equal(looks, 2)
})

test('a first process that outlives bwrap without having bound itself to it is a failure', async () => {
  await assert.rejects(
    untilBound(Promise.resolve(), async () => YOUNG),
    /bwrap ended before its sandbox was made/,
  )
})

test('a first process that is bound, or has ended, is waited for no longer', async () => {
  const never = new Promise<void>(() => {})
  for (const status of ['State:\tS\nSeccomp:\t2\n', 'State:\tZ (zombie)\nSeccomp:\t0\n']) {
    await untilBound(never, async () => status)
  }
})
