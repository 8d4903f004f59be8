// Whatever is uploaded, in whatever pieces: it is refused with a reason and leaves nothing, or the agent
// unpacks every entry of it.
import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import tar from 'tar-stream'
import { type SourceEntry, whyLeftOut } from '../../../agent/source.ts'
import { AppError } from '../../../server/errors.ts'
import { createLocalObjects } from '../../../server/objects/objects.ts'
import { stageUpload } from '../../../server/sources/upload.ts'
import { type Entry, tarOf } from '../../helpers/sources.ts'

const RUNS = 300

const segment = fc.constantFrom('a', 'b', 'Dockerfile', '.', '..', '', 'x'.repeat(120))
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'))
const entry = fc
  .record({
    name: path.filter((name) => name !== ''),
    type: fc.constantFrom('file', 'directory', 'symlink', 'link', 'fifo', 'block-device'),
    linkname: path,
    content: fc.string(),
  })
  .map(({ name, type, linkname, content }): Entry => {
    const header = { name, type: type as 'file' }
    if (type.endsWith('link')) return [{ ...header, linkname: linkname || 'a' }]
    return type === 'file' ? [header, content] : [header]
  })

async function givenObjects(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'hm-upload-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const objects = createLocalObjects({ root })
  const files = async () => {
    const found = await readdir(root, { recursive: true, withFileTypes: true })
    return found.filter((file) => file.isFile()).length
  }
  return { objects, files }
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function entriesOf(file: string): Promise<SourceEntry[]> {
  const found: SourceEntry[] = []
  for await (const entry of createReadStream(file).pipe(tar.extract())) {
    found.push(entry.header)
    entry.resume()
  }
  return found
}

test('what is taken, the agent unpacks whole; what is not leaves nothing', async (t) => {
  const { objects, files } = await givenObjects(t)
  let taken = 0
  const property = fc.asyncProperty(
    fc.array(entry, { minLength: 1, maxLength: 4 }),
    fc.integer({ min: 1, max: 2_000 }),
    async (entries, size) => {
      const bytes = gzipSync(await tarOf(...entries))
      const source = await stageUpload(inPieces(bytes, size), objects).catch((error) => {
        assert.ok(error instanceof AppError, String(error))
        assert.equal(error.code, 'invalid_source')
      })
      if (source) {
        await source.staged.keep()
        const unpacked = await entriesOf(objects.path(source.staged.key))
        await objects.remove(source.staged.key)
        assert.equal(unpacked.length, entries.length)
        for (const found of unpacked) assert.equal(whyLeftOut('/src', found), undefined)
        taken += 1
      }
      assert.equal(await files(), 0)
    },
  )
  await fc.assert(property, { numRuns: RUNS })
  t.diagnostic(`${taken} of ${RUNS} archives were taken`)
  assert.ok(taken > 0)
})

test('an archive damaged anywhere is taken or refused with a reason, and never anything else', async (t) => {
  const { objects, files } = await givenObjects(t)
  const plain = await tarOf(
    [{ name: 'Dockerfile' }, 'FROM scratch'],
    [{ name: 'a' }, 'x'.repeat(600)],
  )
  const property = fc.asyncProperty(
    fc.boolean(),
    fc.nat(),
    fc.integer({ min: 1, max: 255 }),
    fc.integer({ min: 1, max: 2_000 }),
    async (zipped, at, flip, size) => {
      const bytes = zipped ? gzipSync(plain) : Buffer.from(plain)
      bytes[at % bytes.length]! ^= flip
      const source = await stageUpload(inPieces(bytes, size), objects).catch((error) => {
        assert.ok(error instanceof AppError, String(error))
      })
      await source?.staged.discard()
      assert.equal(await files(), 0)
    },
  )
  await fc.assert(property, { numRuns: RUNS })
})
