// The object store: content is the name, and a failure leaves nothing.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLocalObjects } from '../../../server/objects/objects.ts'
import { storeObject } from '../../helpers/sources.ts'

async function givenObjects(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'hm-objects-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const files = async () => {
    const entries = await readdir(root, { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
  }
  return { root, files, objects: createLocalObjects({ root }) }
}

async function* of(...parts: string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part)
}

test('what is stored has the hash of its bytes as name, and can be read', async (t) => {
  const { objects } = await givenObjects(t)
  const stored = await storeObject(objects, of('hel', 'lo'))
  const hex = createHash('sha256').update('hello').digest('hex')
  assert.deepEqual(stored, { key: `sources/${hex}`, sha256: `sha256:${hex}`, bytes: 5 })
  assert.equal(await readFile(objects.path(stored.key), 'utf8'), 'hello')
})

test('the same content twice, also at once, is one object', async (t) => {
  const { objects, files } = await givenObjects(t)
  await Promise.all([1, 2, 3, 4].map(() => storeObject(objects, of('same'))))
  assert.equal((await files()).length, 1)
})

test('a stream that fails leaves nothing and its error is the error', async (t) => {
  const { objects, files } = await givenObjects(t)
  async function* failing() {
    yield Buffer.from('some')
    throw new Error('the source broke')
  }
  await assert.rejects(storeObject(objects, failing()), /the source broke/)
  assert.deepEqual(await files(), [])
})

test('what a dead server left half written is swept away; objects stay', async (t) => {
  const { root, objects, files } = await givenObjects(t)
  const { key } = await storeObject(objects, of('kept'))
  await mkdir(join(root, 'incoming'), { recursive: true })
  await writeFile(join(root, 'incoming/half'), 'half')
  assert.equal(await objects.sweep(), 1)
  assert.equal((await files()).length, 1)
  await objects.remove(key)
  await objects.remove(key)
  assert.deepEqual(await files(), [])
})

test('a key that is none reaches no file', async (t) => {
  const { objects } = await givenObjects(t)
  for (const key of ['../x', 'sources/../../etc/passwd', 'sources/abc', '']) {
    assert.throws(() => objects.path(key), /not an object key/)
    await assert.rejects(objects.remove(key), /not an object key/)
  }
})
