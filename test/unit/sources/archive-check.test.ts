// A source archive is refused for what it may not hold, whatever the chunks it comes in.
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import tar, { type Header } from 'tar-stream'
import { createArchiveCheck } from '../../../server/sources/archive-check.ts'

async function archiveOf(
  ...entries: [Partial<Header> & { name: string }, string?][]
): Promise<Buffer> {
  const pack = tar.pack()
  for (const [header, content] of entries) pack.entry(header, content ?? '')
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

async function pass(
  archive: Buffer,
  chunkBytes: number,
  limits = { bytesMax: 1e6, entriesMax: 10 },
) {
  const check = createArchiveCheck({ limits, maker: 'git' })
  const chunks: Buffer[] = []
  for (let at = 0; at < archive.length; at += chunkBytes) {
    chunks.push(archive.subarray(at, at + chunkBytes))
  }
  const out: Buffer[] = []
  for await (const chunk of check.pass(Readable.from(chunks))) out.push(chunk)
  return { bytes: Buffer.concat(out), ...check.facts() }
}

for (const chunkBytes of [100, 512, 1_000_000]) {
  test(`in chunks of ${chunkBytes} bytes: passed on as it is, and looked at`, async () => {
    const archive = await archiveOf(
      [{ name: 'Dockerfile' }, 'FROM scratch'],
      [{ name: 'dir/', type: 'directory' }],
      [{ name: 'link', type: 'symlink', linkname: '/etc/passwd' }],
      [{ name: `long/${'x'.repeat(300)}` }, 'y'],
      [{ name: 'big' }, 'z'.repeat(70_000)],
    )
    const { bytes, hasFile, warnings } = await pass(archive, chunkBytes)
    assert.deepEqual(bytes, archive)
    assert.ok(hasFile('Dockerfile'))
    assert.ok(!hasFile('dir'))
    assert.deepEqual(warnings, [])
  })

  test(`in chunks of ${chunkBytes} bytes: what is wrong is refused`, async () => {
    const cases: [Partial<Header> & { name: string }, RegExp][] = [
      [{ name: '../out' }, /the path "\.\.\/out" leaves the source/],
      [{ name: 'a/../../out' }, /leaves the source/],
      [{ name: '/etc/passwd' }, /leaves the source/],
      [{ name: 'pipe', type: 'fifo' }, /"pipe" is a fifo/],
      [{ name: 'device', type: 'character-device' }, /"device" is a character-device/],
      [{ name: 'hard', type: 'link', linkname: 'Dockerfile' }, /"hard" is a link/],
      [{ name: 'x'.repeat(5000) }, /a path is over 4096 bytes/],
    ]
    for (const [header, reason] of cases) {
      const archive = await archiveOf([{ name: 'Dockerfile' }, 'FROM x'], [header])
      await assert.rejects(pass(archive, chunkBytes), reason)
    }
  })
}

test('limits hold exactly', async () => {
  const archive = await archiveOf([{ name: 'a' }], [{ name: 'b' }])
  await pass(archive, 512, { bytesMax: archive.length, entriesMax: 2 })
  await assert.rejects(pass(archive, 512, { bytesMax: archive.length - 1, entriesMax: 2 }), {
    code: 'source_too_large',
  })
  await assert.rejects(pass(archive, 512, { bytesMax: archive.length, entriesMax: 1 }), {
    code: 'source_too_large',
  })
})

test('an archive that breaks off is an error', async () => {
  const archive = await archiveOf([{ name: 'a' }, 'x'.repeat(2000)])
  await assert.rejects(pass(archive.subarray(0, 1000), 512), /Unexpected end of data/)
})
