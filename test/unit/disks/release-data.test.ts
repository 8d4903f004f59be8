import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOsRelease, releaseDataOf } from '../../../server/disks/release-data.ts'
import { testParts } from '../../helpers/parts.ts'

test('the builder image says which system it is', async () => {
  const parts = await testParts()
  const release = await releaseDataOf(parts.builder.disk, parts)
  assert.equal(release.ID, 'debian')
  assert.match(release.PRETTY_NAME ?? '', /^Debian GNU\/Linux 12/)
})

test('a disk without os-release says nothing, quotes are no part of a value', async () => {
  const parts = await testParts()
  assert.deepEqual(await releaseDataOf('/dev/null', parts), {})
  assert.deepEqual(parseOsRelease('# c\nA="x y"\nB=\'z\'\nC=d\nnot a line\n'), {
    A: 'x y',
    B: 'z',
    C: 'd',
  })
})
