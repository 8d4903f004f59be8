// What happens to the export of a cache happens after the build has succeeded, and does not change that.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import type { BuildResult, CacheUse } from '../../../agent/protocol.ts'
import { type ConversationOptions, converse } from '../../../server/pipeline/conversation.ts'
import { type AgentLine, CHANNEL_KEY, givenAgentLine } from '../../helpers/agent-channel.ts'

const RESULT: BuildResult = {
  success: true,
  image_digest: `sha256:${'a'.repeat(64)}`,
  provenance: { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' },
  duration_ms: 1,
  cache: { imported: ['cache/acme/web'] },
}
const LONG_MS = 600_000

function host(line: AgentLine, more: Partial<ConversationOptions> = {}) {
  const lines: string[] = []
  const result = converse({
    buildId: 'build00001',
    key: CHANNEL_KEY,
    dial: line.dial,
    signal: new AbortController().signal,
    handlers: {
      onHello: async () => {},
      onPushing: async () => {},
      onEvent: async (event) => {
        if (event.type === 'log') lines.push(event.line)
      },
      onReconnect: () => {},
    },
    ...more,
  })
  return { lines, result }
}

const withCache = (exported: boolean): BuildResult => {
  const cache: CacheUse = { imported: ['cache/acme/web'], exported }
  return { ...RESULT, cache }
}

test('the outcome of the export comes with the result, and its lines before it', async (t) => {
  for (const exported of [true, false]) {
    const line = await givenAgentLine(t)
    const { lines, result } = host(line, { cacheExportMs: LONG_MS })
    await line.channel.send({ type: 'result', result: RESULT })
    await line.channel.send({ type: 'log', log: 'about the cache' })
    await line.channel.send({ type: 'cache', exported })
    assert.deepEqual(await result, withCache(exported))
    assert.deepEqual(lines, ['about the cache'])
  }
})

test('an export that takes too long does not hold the build back', async (t) => {
  const line = await givenAgentLine(t)
  const { result } = host(line, { cacheExportMs: 20 })
  await line.channel.send({ type: 'result', result: RESULT })
  assert.deepEqual(await result, RESULT)
})

test('a pod that breaks, or a build that runs out of time, during the export has succeeded', async (t) => {
  const broken = await givenAgentLine(t, [700])
  const first = host(broken, { cacheExportMs: LONG_MS })
  await broken.channel.send({ type: 'result', result: RESULT })
  await broken.channel.send({ type: 'log', log: 'x'.repeat(1000) })
  assert.deepEqual(await first.result, RESULT)

  const slow = await givenAgentLine(t)
  const timeout = new AbortController()
  const second = host(slow, { cacheExportMs: LONG_MS, signal: timeout.signal })
  await slow.channel.send({ type: 'result', result: RESULT })
  await slow.channel.send({ type: 'log', log: 'exporting' })
  while (second.lines.length === 0) await tick()
  timeout.abort(new Error('the build took too long'))
  assert.deepEqual(await second.result, RESULT)
})

test('a second result neither replaces the first nor gives the export more time', async (t) => {
  const line = await givenAgentLine(t)
  const { result } = host(line, { cacheExportMs: LONG_MS })
  await line.channel.send({ type: 'result', result: RESULT })
  const other = { ...RESULT, image_digest: `sha256:${'b'.repeat(64)}` }
  await line.channel.send({ type: 'result', result: other })
  assert.deepEqual(await result, RESULT)
})

test('a build that failed, or has no cache to export, is not waited for', async (t) => {
  const failed = await givenAgentLine(t)
  const failure: BuildResult = { ...RESULT, success: false }
  const { result } = host(failed, { cacheExportMs: LONG_MS })
  await failed.channel.send({ type: 'result', result: failure })
  assert.deepEqual(await result, failure)
  const plain = await givenAgentLine(t)
  const other = host(plain)
  await plain.channel.send({ type: 'result', result: RESULT })
  assert.deepEqual(await other.result, RESULT)
})
