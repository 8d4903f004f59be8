// The agent's part of a builder, where no such disk is: it says so, and the build goes on without.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openCacheDisk } from '../../../agent/cache-disk.ts'
import { parseConfig } from '../../../agent/config.ts'
import { givenConfig } from './given-config.ts'

const CACHE_DISK = { max_used_mb: 1000, keep_hours: 168, save: true }

test('a disk that cannot be mounted is trouble and no failure', async () => {
  const disk = openCacheDisk(CACHE_DISK, { device: '/dev/none', state: '/nowhere' })
  assert.match(disk.trouble ?? '', /^it cannot be mounted \(.+\)$/)
  assert.equal(disk.isDamaged(), false)
})

test('a disk of an unknown shape is refused with its name', () => {
  const parse = (cache_disk: unknown) =>
    parseConfig(JSON.stringify({ ...givenConfig(), cache_disk }))
  assert.deepEqual(parse(CACHE_DISK).cache_disk, CACHE_DISK)
  for (const wrong of [
    null,
    [],
    {},
    { ...CACHE_DISK, save: 'yes' },
    { ...CACHE_DISK, max_used_mb: '1; reboot' },
  ]) {
    assert.throws(() => parse(wrong), /field cache_disk/)
  }
})
