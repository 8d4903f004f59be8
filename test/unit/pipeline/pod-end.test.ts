// What a build's log says of a pod that ended before its result.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NewEvent } from '../../../server/builds/event-store.ts'
import { podEnd } from '../../../server/pipeline/pod-end.ts'
import type { Pod } from '../../../server/runners/runner.ts'

const BOOTED =
  '\u001bc\u001b[?7l\u001b[2J\u001b[0mSeaBIOS (version 1.16.2)\r\nagent is listening\r\n'

async function endOf(console: string) {
  const events: NewEvent[] = []
  const pod: Pick<Pod, 'exited' | 'console'> = {
    exited: Promise.resolve({ code: null, signal: 'SIGKILL', stopped: false }),
    console: () => console,
  }
  const failure = await podEnd(pod, new Error('channel closed'), {
    noun: 'VM',
    started: performance.now(),
    writer: { write: async (event) => void events.push(event) },
  })
  return { failure, lines: events.map((event) => ('line' in event ? event.line : '')) }
}

test('a VM that was killed is no fault of the user', async () => {
  const { failure } = await endOf(BOOTED)
  assert.equal(failure.failureClass, 'infra')
  assert.match(failure.message, /^the build VM ended unexpectedly .* \(killed by SIGKILL\)$/)
})

test('the log of a VM that ended clears no screen of who reads it', async () => {
  const { lines } = await endOf(BOOTED)
  assert.deepEqual(lines, ['console: SeaBIOS (version 1.16.2)', 'console: agent is listening'])
})
