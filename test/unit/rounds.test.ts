// Work in rounds: what every loop of the server does.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRounds } from '../../server/rounds.ts'

const LONG_MS = 600_000

/** Rounds that wait until they are let go. */
function givenRounds(intervalMs = LONG_MS) {
  let begun = 0
  let ended = 0
  const errors: string[] = []
  const waiting: ((error?: Error) => void)[] = []
  const rounds = createRounds({
    async work() {
      begun += 1
      const error = await new Promise<Error | undefined>((resolve) => waiting.push(resolve))
      ended += 1
      if (error) throw error
    },
    intervalMs,
    onError: ({ message }) => errors.push(message),
  })
  const letGo = async (error?: Error) => {
    waiting.shift()?.(error)
    await sleep(5)
  }
  return { rounds, letGo, errors, counts: () => [begun, ended] }
}

test('however often it is poked during a round, there is one round at a time and one more after it', async (t) => {
  const { rounds, letGo, counts } = givenRounds()
  t.after(() => rounds.stop())
  void rounds.start()
  for (let n = 0; n < 5; n += 1) rounds.poke()
  assert.deepEqual(counts(), [1, 0])
  await letGo()
  assert.deepEqual(counts(), [2, 1])
  await letGo()
  assert.deepEqual(counts(), [2, 2])
})

test('a round that fails is told, and the next one comes by itself', async () => {
  const { rounds, letGo, errors, counts } = givenRounds(1)
  const first = rounds.start()
  await letGo(new Error('no'))
  await first
  assert.deepEqual(errors, ['no'])
  while (counts()[0] !== 2) await sleep(1)
  const stopped = rounds.stop()
  await letGo()
  await stopped
})

test('a stop waits for the round under way, and no other comes, poked or not', async () => {
  const { rounds, letGo, counts } = givenRounds(1)
  void rounds.start()
  rounds.poke()
  const stopped = rounds.stop().then(counts)
  await letGo()
  assert.deepEqual(await stopped, [1, 1])
  rounds.poke()
  await sleep(20)
  assert.deepEqual(counts(), [1, 1])
})

test('before its start nothing happens, and with a delay the first round comes later or when poked', async (t) => {
  const { rounds, letGo, counts } = givenRounds()
  t.after(() => rounds.stop())
  rounds.poke()
  assert.deepEqual(counts(), [0, 0])
  await rounds.start(LONG_MS)
  assert.deepEqual(counts(), [0, 0])
  rounds.poke()
  await letGo()
  assert.deepEqual(counts(), [1, 1])
})
