import assert from 'node:assert/strict'
import { test } from 'node:test'
import { STEPS_BYTES_MAX } from '../../../server/limits.ts'
import { createLogWriter } from '../../../server/pipeline/log-writer.ts'

test('a guest that tells of steps without end does not fill the database', async () => {
  let bytes = 0
  const writer = createLogWriter({
    append: async (events) => {
      for (const event of events) bytes += JSON.stringify(event).length
      return true
    },
  })
  const step = { name: 'x'.repeat(4_096), state: 'started' as const, error: 'x'.repeat(8_192) }
  for (let n = 1; n < 5_000; n += 1) await writer.write({ type: 'step', step: { ...step, n } })
  await writer.write({ type: 'log', line: 'lines still come' })
  await writer.close()
  assert.ok(bytes < 1.1 * STEPS_BYTES_MAX, `${bytes}`)
  assert.ok(bytes > 0.9 * STEPS_BYTES_MAX, `${bytes}`)
})
