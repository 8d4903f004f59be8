// The line about the cache at the end of a log.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CacheFacts } from '../../../server/builds/schema.ts'
import { cacheLine, createCacheReport } from '../../../server/pipeline/cache-report.ts'

const facts = (source: CacheFacts['source'], cached: number): CacheFacts => ({
  source,
  steps_total: 11,
  steps_cached: cached,
  imported: [],
})

test('the log says what came from cache, and from where', () => {
  const line = cacheLine(facts('registry', 7), {})
  assert.equal(line, 'Cache: 7 of 11 steps, from the registry')
})

test('a build with no_cache does not look as if its cache had been lost: the log says that none was asked for', () => {
  const cold = facts('none', 0)
  assert.equal(cacheLine(cold, { no_cache: true }), 'Cache: not used, as asked for (no_cache)')
  assert.equal(cacheLine(cold, {}), 'Cache: 0 of 11 steps')
})

test('an unchanged build does not look half cached: only steps of the Dockerfile count', () => {
  const report = createCacheReport({ imports: [] })
  const steps = [
    '[internal] load build definition from Dockerfile',
    '[internal] load build context',
    '[1/2] COPY . .',
    '[build 2/2] RUN make',
    'exporting to image',
  ]
  for (const [i, name] of steps.entries()) {
    const state = name.includes('/2]') ? 'cached' : 'done'
    report.saw({ type: 'step', step: { n: i + 1, name, state } })
  }
  const { steps_cached, steps_total } = report.facts({ use: undefined, disk: { isWarm: true } })
  assert.deepEqual([steps_cached, steps_total], [2, 2])
})
