import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { builderDisk, splitTag } from '../../../server/disks/builder-disk.ts'
import { createCache } from '../../../server/setup/cache.ts'

test('an OCI layout is a folder and a tag, latest unless given', () => {
  assert.deepEqual(splitTag('/var/builder:v2'), { name: '/var/builder', tag: 'v2' })
  assert.deepEqual(splitTag('/var/builder'), { name: '/var/builder', tag: 'latest' })
  assert.deepEqual(splitTag('localhost:5000/builder'), {
    name: 'localhost:5000/builder',
    tag: 'latest',
  })
})

test('a path that is no OCI layout is refused by name before anything is pulled', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-builder-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const tools = { umoci: '/bin/false', skopeo: '/bin/false', mksquashfs: '/bin/false' }
  const image = join(dir, 'nothing:latest')
  const attempt = builderDisk({ image, cache: createCache(join(dir, 'cache')), tools })
  await assert.rejects(attempt, { reason: `BUILDER_IMAGE=${image} is no OCI layout` })
  assert.deepEqual(await readdir(dir), [])
})
