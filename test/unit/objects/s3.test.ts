// The object store on real S3-compatible storage.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { S3_INCOMING_AGE_MS } from '../../../server/limits.ts'
import { openObjects } from '../../../server/objects/location.ts'
import { createS3Objects } from '../../../server/objects/s3.ts'
import { silent } from '../../helpers/database.ts'
import { givenObjectStorage } from '../../helpers/object-storage.ts'
import { storeObject } from '../../helpers/sources.ts'

async function givenObjects(t: TestContext, prefix = '') {
  const storage = await givenObjectStorage(t)
  const temporary = await mkdtemp(join(tmpdir(), 'hm-s3-tmp-'))
  const objects = createS3Objects({ ...storage.settings, prefix, temporary, log: silent })
  t.after(async () => {
    objects.close()
    await rm(temporary, { recursive: true, force: true })
  })
  const stored = async () => {
    const entries = await readdir(storage.bucketFolder, { recursive: true, withFileTypes: true })
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(storage.bucketFolder.length + 1))
      .filter((name) => !name.startsWith('.'))
      .sort()
  }
  return { storage, objects, stored, temporary }
}

async function* of(...parts: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part)
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

const sha256 = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex')
const patiently = () => AbortSignal.timeout(60_000)

test('what is stored has the hash of its bytes as name, and comes back as a file', async (t) => {
  const { objects, stored, temporary } = await givenObjects(t, 'prod/hypeman/')
  const made = await storeObject(objects, of('hel', 'lo'))
  const hex = sha256('hello')
  assert.deepEqual(made, { key: `sources/${hex}`, sha256: `sha256:${hex}`, bytes: 5 })
  assert.deepEqual(await stored(), [`prod/hypeman/sources/${hex}.tar`])
  const file = await objects.fetch(made.key, patiently())
  assert.equal(await readFile(file.path, 'utf8'), 'hello')
  await file.release()
  assert.deepEqual(await readdir(temporary), [])
  assert.deepEqual(await all(objects.list()), [{ key: made.key, bytes: 5 }])
  await objects.remove(made.key)
  await objects.remove(made.key)
  assert.deepEqual(await stored(), [])
})

test('a source of many parts arrives whole', async (t) => {
  const { objects } = await givenObjects(t)
  const parts = Array.from({ length: 41 }, () => randomBytes(512 * 1024 + 7))
  const { key, bytes } = await storeObject(objects, of(...parts))
  const whole = Buffer.concat(parts)
  assert.equal(bytes, whole.length)
  const file = await objects.fetch(key, patiently())
  assert.equal(sha256(await readFile(file.path)), sha256(whole))
  await file.release()
})

test('an empty stream is an object of no bytes', async (t) => {
  const { objects } = await givenObjects(t)
  const { key, bytes } = await storeObject(objects, of())
  assert.equal(bytes, 0)
  assert.equal(key, `sources/${sha256('')}`)
})

test('the same content twice, also at once, is one object', async (t) => {
  const { objects, stored } = await givenObjects(t)
  await Promise.all([1, 2, 3, 4].map(() => storeObject(objects, of('same'))))
  assert.equal((await stored()).length, 1)
})

test('what is staged is not in the store, and is gone when it is discarded', async (t) => {
  const { objects, stored } = await givenObjects(t)
  const staged = await objects.stage(of('refused'))
  assert.deepEqual(await all(objects.list()), [])
  await staged.discard()
  assert.deepEqual(await stored(), [])
})

for (const [size, bytes] of [
  ['small', 10],
  ['of several parts', 20 * 1024 * 1024],
] as const) {
  test(`a ${size} stream that fails leaves nothing and its error is the error`, async (t) => {
    const { objects, stored } = await givenObjects(t)
    async function* failing() {
      yield randomBytes(bytes)
      throw new Error('the source broke')
    }
    await assert.rejects(storeObject(objects, failing()), /the source broke/)
    assert.deepEqual(await stored(), [])
  })
}

test('an object that was changed in the storage is refused, and leaves no file', async (t) => {
  const { objects, storage, temporary } = await givenObjects(t)
  const { key } = await storeObject(objects, of('true'))
  await writeFile(join(storage.bucketFolder, `${key}.tar`), 'fake')
  await assert.rejects(objects.fetch(key, patiently()), /it is damaged|[Cc]hecksum/)
  assert.deepEqual(await readdir(temporary), [])
})

test('an object that is not there, and storage that does not answer, are named', async (t) => {
  const { objects, storage } = await givenObjects(t)
  const none = `sources/${'0'.repeat(64)}`
  const missing = { code: 'objects_unavailable', message: /bucket builds\b.* NoSuchKey/ }
  await assert.rejects(objects.fetch(none, patiently()), missing)
  await storage.stop()
  const gone = { code: 'objects_unavailable', message: /bucket builds .* ECONNREFUSED/ }
  await assert.rejects(storeObject(objects, of('x')), gone)
  await assert.rejects(objects.check(), gone)
})

test('a bucket that is not there, and a wrong key, are found at the start', async (t) => {
  const { storage, temporary } = await givenObjects(t)
  const { settings } = storage
  const credentials = { accessKeyId: 'test-access', secretAccessKey: 'wrong' }
  for (const [wrong, says] of [
    [{ ...settings, bucket: 'nowhere' }, /bucket nowhere .*NoSuchBucket/],
    [{ ...settings, credentials }, /SignatureDoesNotMatch/],
  ] as const) {
    const objects = createS3Objects({ ...wrong, temporary, log: silent })
    await assert.rejects(objects.check(), (error: Error) => {
      assert.match(error.message, says)
      assert.doesNotMatch(error.message, /wrong/)
      return true
    })
    objects.close()
  }
})

test('what a dead process was fetching is gone when the store is opened again', async (t) => {
  const { storage, temporary, objects } = await givenObjects(t)
  await writeFile(join(temporary, 'half'), 'half')
  const location = { kind: 's3' as const, ...storage.settings }
  const opened = await openObjects(location, { temporary, log: silent })
  t.after(opened.close)
  const { key } = await storeObject(objects, of('kept'))
  const file = await opened.objects.fetch(key, patiently())
  assert.equal((await readdir(temporary)).length, 1)
  await file.release()
})

test('a sweep leaves objects and fresh uploads alone', async (t) => {
  const { objects, stored } = await givenObjects(t)
  await storeObject(objects, of('kept'))
  const staged = await objects.stage(of('on its way'))
  assert.equal(await objects.sweep(), 0)
  assert.equal((await stored()).length, 2)
  await staged.keep()
  await staged.discard()
  assert.equal((await all(objects.list())).length, 2)
})

for (const [where, days] of [
  ['ahead', 3],
  ['behind', -3],
] as const) {
  test(`a sweep by a server whose clock is days ${where} goes by the clock of the storage`, async (t) => {
    const { storage, objects, stored } = await givenObjects(t)
    await objects.stage(of('left long ago'))
    const [old = ''] = await stored()
    const yesterday = new Date(Date.now() - S3_INCOMING_AGE_MS - 60_000)
    await utimes(join(storage.bucketFolder, old), yesterday, yesterday)
    await objects.stage(of('on its way'))
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + days * 24 * 60 * 60_000 })
    assert.equal(await objects.sweep(), 1)
    const left = await stored()
    assert.equal(left.length, 1)
    assert.notEqual(left[0], old)
  })
}

test('a key that is none reaches no object', async (t) => {
  const { objects } = await givenObjects(t)
  for (const key of ['../x', 'sources/../../etc/passwd', 'sources/abc', '']) {
    assert.throws(() => objects.fetch(key, patiently()), /not an object key/)
    assert.throws(() => objects.remove(key), /not an object key/)
  }
})
