// Durations go by the clock that only ever goes forward; the time of day is for dates alone, because it is set.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createLibraryReply } from '../../server/git/library-reply.ts'

/** Each compares with a date that comes from elsewhere: a row, a file, a token, another machine. */
const BY_THE_TIME_OF_DAY = [
  'builds/log.ts',
  'garbage/collect.ts',
  'objects/s3.ts',
  'registry/token-endpoint.ts',
  'reports/service.ts',
  'setup/lock-file.ts',
  'setup/sweep-parts.ts',
  'telemetry/process-metrics.ts',
]

test('nothing but what compares dates asks for the time of day', async () => {
  const server = fileURLToPath(new URL('../../server/', import.meta.url))
  const names = (await readdir(server, { recursive: true })).filter((name) => name.endsWith('.ts'))
  const found: string[] = []
  for (const name of names) {
    if (/Date\.now\b/.test(await readFile(server + name, 'utf8'))) found.push(name)
  }
  const others = found.filter((name) => !BY_THE_TIME_OF_DAY.includes(name))
  assert.deepEqual(others, [], 'measure durations by performance.now()')
})

test('a clock that is set an hour ahead cuts no reader of a push off who is only slow for a moment', async (t) => {
  t.mock.timers.enable({ apis: ['Date', 'setInterval'], now: Date.now() })
  const res = Object.assign(new PassThrough({ highWaterMark: 1 }), { headersSent: false })
  const reply = createLibraryReply(res as unknown as ServerResponse, 60_000)
  reply.prefix(Buffer.from('a line that nobody takes'))
  await sleep(100)
  assert.equal(res.writableNeedDrain, true)
  t.mock.timers.setTime(Date.now() + 3_600_000)
  t.mock.timers.tick(60_000)
  assert.equal(res.destroyed, false)
  res.destroy()
  await reply.done
})
