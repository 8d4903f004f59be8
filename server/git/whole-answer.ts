// git's answer to a push, put right for clients that are less patient than git. Its report comes last, because
// go-git reads no further, and would miss the build; no packet of text ends inside a character, because pygit2
// gives a push up over one that does.
import { Transform, type TransformCallback } from 'node:stream'
import { packetLength } from './pkt-line.ts'
import { band, REPORT_BAND, TEXT_BAND } from './sideband.ts'

const LENGTH_BYTES = 4
const HEAD_BYTES = LENGTH_BYTES + 1
const EMPTY = Buffer.alloc(0)

/** Of a push with side-band-64k. Anything that is not packets goes through as it is. */
export function wholeAnswer(): Transform {
  let pending: Buffer = EMPTY
  /** The beginning of a character. */
  let begun: Buffer = EMPTY
  let report: Buffer = EMPTY
  let isPackets = true

  const rest = () => {
    const all = Buffer.concat([...band(TEXT_BAND, begun), report])
    begun = EMPTY
    report = EMPTY
    return all
  }

  function answerOf(packet: Buffer): Buffer {
    const [number] = packet.subarray(LENGTH_BYTES)
    const data = packet.subarray(HEAD_BYTES)
    if (number === undefined) return Buffer.concat([rest(), packet]) // the last of all
    if (data.length === 0) return packet // it keeps the connection alive
    if (number === REPORT_BAND) {
      report = Buffer.concat([report, packet])
      return EMPTY
    }
    if (number !== TEXT_BAND) return Buffer.concat([rest(), packet])
    const text = Buffer.concat([begun, data])
    const whole = text.length - begunBytes(text)
    begun = text.subarray(whole)
    return Buffer.concat([...band(TEXT_BAND, text.subarray(0, whole))])
  }

  return new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      pending = Buffer.concat([pending, chunk])
      while (isPackets && pending.length >= LENGTH_BYTES) {
        const length = packetLength(pending)
        isPackets = length !== undefined
        if (length === undefined || pending.length < length) break
        this.push(answerOf(pending.subarray(0, length)))
        pending = pending.subarray(length)
      }
      if (!isPackets) {
        this.push(Buffer.concat([rest(), pending]))
        pending = EMPTY
      }
      done()
    },
    flush(done) {
      this.push(Buffer.concat([rest(), pending]))
      done()
    },
  })
}

/** How many bytes at the end begin a character without ending it. */
function begunBytes(text: Buffer): number {
  for (let back = 1; back <= 3 && back <= text.length; back += 1) {
    const byte = text[text.length - back]!
    if (byte < 0x80) return 0
    if (byte < 0xc0) continue
    const needed = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    return needed > back ? back : 0
  }
  return 0
}
