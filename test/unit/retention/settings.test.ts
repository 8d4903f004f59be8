// RETENTION_*: defaults, `off`, and what is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, readConfig } from '../../../server/config.ts'
import { BUILD_DAYS_DEFAULT, REPORT_DAYS_MAX } from '../../../server/limits.ts'

test('without settings images are kept by number, and reports never miss a build', () => {
  assert.deepEqual(readConfig({}).retention, {
    keepImages: 30,
    imageDays: undefined,
    uploadDays: 30,
    buildDays: 400,
    logDays: 90,
    sourceDays: 7,
    cacheDays: 14,
  })
  assert.ok(BUILD_DAYS_DEFAULT > REPORT_DAYS_MAX)
})

test('a number sets, off keeps for ever', () => {
  const { retention } = readConfig({ RETENTION_IMAGES: 'off', RETENTION_IMAGE_DAYS: '90' })
  assert.equal(retention.keepImages, undefined)
  assert.equal(retention.imageDays, 90)
})

test('anything else is refused by name', () => {
  for (const value of ['0', '-1', '1.5', 'never', '99999999', '3651']) {
    assert.throws(
      () => readConfig({ RETENTION_LOG_DAYS: value }),
      (error: ConfigError) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, /^RETENTION_LOG_DAYS=.* from 1 to 3650, or off$/)
        return true
      },
      value,
    )
  }
})
