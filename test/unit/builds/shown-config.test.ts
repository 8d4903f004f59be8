import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ShownConfig, shownConfig } from '../../../server/builds/shown-config.ts'
import { givenConfig } from '../agent/given-config.ts'

test('a field that nobody has declared harmless is not shown', () => {
  const config = { ...givenConfig(), some_new_nonce: 'hush', secret_map: { a: 'hush' } }
  const shown = shownConfig(config)
  assert.doesNotMatch(JSON.stringify(shown), /hush|the-token|kkkk/)
  assert.equal(shown.some_new_nonce, '[redacted]')
  assert.equal(shown.job_id, config.job_id)
  ShownConfig.parse(shown)
})
