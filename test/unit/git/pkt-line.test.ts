// The head of a push, whatever the chunks it comes in.
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  FLUSH,
  PktLineError,
  PushTooLong,
  pkt,
  type RefUpdate,
  readFetchHead,
  readPushHead,
} from '../../../server/git/pkt-line.ts'
import { readBody } from '../../../server/git/request-body.ts'
import { refusalReport } from '../../../server/git/sideband.ts'

const oid = fc.stringMatching(/^[0-9a-f]{40}$/)
const ref = fc.stringMatching(/^refs\/(heads|tags|notes)\/[a-zä0-9./-]{1,40}$/)
const update = fc.record({ oldSha: oid, newSha: oid, ref }, { noNullPrototype: true })

function encode(updates: readonly RefUpdate[], capabilities: string): Buffer {
  const lines = updates.map(({ oldSha, newSha, ref }, i) =>
    pkt(`${oldSha} ${newSha} ${ref}${i === 0 ? `\0${capabilities}` : ''}`),
  )
  return Buffer.concat([...lines, FLUSH])
}

/** A request whose body comes in pieces of the given sizes, over and over. */
function bodyInPieces(bytes: Buffer, sizes: readonly number[]) {
  const req = Object.assign(new PassThrough(), { headers: {} })
  let at = 0
  for (let i = 0; at < bytes.length; i += 1) {
    const size = sizes[i % sizes.length]!
    req.write(bytes.subarray(at, at + size))
    at += size
  }
  req.end()
  return readBody(req as never)
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

test('a command list is read whole and the pack after it is left untouched, in any chunks', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(update, { minLength: 1, maxLength: 20 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 }),
      async (updates, pack, sizes) => {
        const commands = encode(updates, ' report-status side-band-64k agent=x')
        const body = bodyInPieces(Buffer.concat([commands, pack]), sizes)
        const head = await readPushHead(body)
        assert.deepEqual(head.updates, updates)
        assert.deepEqual(head.bytes, commands)
        assert.ok(head.capabilities.has('side-band-64k'))
        assert.deepEqual(await collect(body.rest()), Buffer.from(pack))
      },
    ),
    { numRuns: 60 },
  )
})

test('no bytes at all make it fail in another way than with its own error', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      try {
        await readPushHead(bodyInPieces(Buffer.from(bytes), [7]))
      } catch (error) {
        assert.ok(error instanceof PktLineError, String(error))
      }
    }),
  )
})

test('a cut list is an error wherever it is cut', async () => {
  const whole = encode(
    [{ oldSha: '0'.repeat(40), newSha: '1'.repeat(40), ref: 'refs/heads/x' }],
    'a',
  )
  for (let length = 0; length < whole.length; length += 1) {
    await assert.rejects(readPushHead(bodyInPieces(whole.subarray(0, length), [11])), PktLineError)
  }
})

test('shallow lines before the commands are passed on and not taken for commands', async () => {
  const shallow = pkt(`shallow ${'a'.repeat(40)}`)
  const commands = encode(
    [{ oldSha: '0'.repeat(40), newSha: '1'.repeat(40), ref: 'refs/tags/x' }],
    'a',
  )
  const head = await readPushHead(bodyInPieces(Buffer.concat([shallow, commands]), [64]))
  assert.equal(head.updates.length, 1)
  assert.deepEqual(head.bytes, Buffer.concat([shallow, commands]))
})

test('a lone flush is a probe: no updates', async () => {
  const head = await readPushHead(bodyInPieces(FLUSH, [1]))
  assert.deepEqual(head.updates, [])
})

test('a list over its limits is told from garbage, and says which limit', async () => {
  const many = Array.from({ length: 257 }, (_, i) => ({
    oldSha: '0'.repeat(40),
    newSha: '1'.repeat(40),
    ref: `refs/heads/b${i}`,
  }))
  await assert.rejects(
    readPushHead(bodyInPieces(encode(many, 'a'), [4096])),
    (error) => error instanceof PushTooLong && /more than 256 refs/.test(error.message),
  )
  const long = many
    .slice(0, 250)
    .map((update) => ({ ...update, ref: update.ref + 'x'.repeat(400) }))
  await assert.rejects(readPushHead(bodyInPieces(encode(long, 'a'), [4096])), /over 65536 bytes/)
})

test('push options are read when the client says that there are some, and bounded', async () => {
  const commands = (capabilities: string) =>
    encode([{ oldSha: '0'.repeat(40), newSha: '1'.repeat(40), ref: 'refs/heads/a' }], capabilities)
  const options = Buffer.concat([pkt('no-cache\n'), pkt('build-arg=A=ä b'), FLUSH])
  const pack = Buffer.from('PACK and so on')
  const body = bodyInPieces(
    Buffer.concat([commands('report-status push-options'), options, pack]),
    [3],
  )
  const head = await readPushHead(body)
  assert.deepEqual(head.options, ['no-cache', 'build-arg=A=ä b'])
  assert.deepEqual(head.bytes, Buffer.concat([commands('report-status push-options'), options]))
  assert.deepEqual(await collect(body.rest()), pack)
  const none = await readPushHead(bodyInPieces(commands('report-status'), [100]))
  assert.deepEqual(none.options, [])
  const many = Array.from({ length: 200 }, () => pkt('no-cache'))
  const tooMany = Buffer.concat([commands('push-options'), ...many, FLUSH])
  await assert.rejects(readPushHead(bodyInPieces(tooMany, [4096])), PushTooLong)
})

test('a refusal longer than a sideband packet is cut into several', () => {
  const updates = Array.from({ length: 256 }, (_, i) => ({
    oldSha: '0'.repeat(40),
    newSha: '1'.repeat(40),
    ref: `refs/heads/${'x'.repeat(400)}${i}`,
  }))
  const head = { updates, capabilities: new Set(['side-band-64k']), options: [], bytes: FLUSH }
  let report = refusalReport(head, { reasonFor: () => 'no', lines: ['error: no'] })
  const bands = new Map<number, Buffer[]>()
  for (;;) {
    const length = Number.parseInt(report.toString('latin1', 0, 4), 16)
    if (length === 0) break
    assert.ok(length <= 65_520)
    const band = report[4]!
    bands.set(band, [...(bands.get(band) ?? []), report.subarray(5, length)])
    report = report.subarray(length)
  }
  assert.equal(report.length, 4)
  const said = Buffer.concat(bands.get(1)!).toString()
  assert.equal(said.match(/ng refs/g)?.length, 256)
  assert.equal(Buffer.concat(bands.get(2)!).toString(), 'error: no\n')
})

test('a fetch begins with want, and nothing else is handed on', async () => {
  const want = pkt(`want ${'a'.repeat(40)} side-band-64k\n`)
  assert.deepEqual(await readFetchHead(bodyInPieces(want, [3])), want)
  assert.equal(await readFetchHead(bodyInPieces(FLUSH, [1])), undefined)
  await assert.rejects(readFetchHead(bodyInPieces(pkt('have it'), [9])), /begins with want/)
})
