// git's answer to a push as every client can read it: the report last, text in whole characters.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FLUSH, packetLength, pkt } from '../../../server/git/pkt-line.ts'
import { wholeAnswer } from '../../../server/git/whole-answer.ts'

const packet = (band: number, data: string | Buffer) =>
  pkt(Buffer.concat([Buffer.from([band]), Buffer.from(data as string)]))

/** Packets without their lengths; the flush packet is empty. */
async function through(bytes: Buffer, pieceBytes = bytes.length): Promise<Buffer[]> {
  const stream = wholeAnswer()
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    stream.write(bytes.subarray(at, at + pieceBytes))
  }
  stream.end()
  let all = Buffer.concat(await stream.toArray())
  const packets: Buffer[] = []
  while (all.length > 0) {
    const length = packetLength(all)!
    packets.push(all.subarray(4, length))
    all = all.subarray(length)
  }
  return packets
}

test('go-git ends with the report and missed the build: the report comes after all text', async () => {
  const bytes = [packet(2, 'a\n'), packet(1, 'unpack ok'), packet(2, 'b\n'), FLUSH]
  const shown = (await through(Buffer.concat(bytes))).map(String)
  assert.deepEqual(shown, ['\u0002a\n', '\u0002b\n', '\u0001unpack ok', ''])
})

test('pygit2 gave a push up over half a character: no text packet ends inside one', async () => {
  const whole = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(whole, fc.integer({ min: 1, max: 7 }), async (text, pieceBytes) => {
      const bytes = Buffer.from(text)
      const pieces: Buffer[] = []
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        pieces.push(packet(2, bytes.subarray(at, at + pieceBytes)))
      }
      const packets = await through(Buffer.concat([...pieces, FLUSH]), pieceBytes)
      const texts = packets.slice(0, -1).map((one) => one.subarray(1))
      const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
      assert.equal(texts.map((one) => decoder.decode(one)).join(''), bytes.toString())
    }),
  )
})

test('what keeps the connection alive comes at once, and what is no packet as it is', async () => {
  const stream = wholeAnswer()
  stream.write(packet(1, 'unpack ok'))
  stream.write(packet(1, ''))
  assert.equal(String(stream.read()), '0005\u0001')
  stream.end('fatal: no git')
  assert.equal(
    Buffer.concat(await stream.toArray()).toString(),
    `${packet(1, 'unpack ok')}fatal: no git`,
  )
})
