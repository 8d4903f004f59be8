// The server's own answer to a push that git never gets to see: git's report with a reason per ref, and lines
// for the person. Said in the push's reply, because the text of an HTTP error there is not shown.
import { FLUSH, type PushHead, pkt, type RefUpdate } from './pkt-line.ts'

const REPORT_BAND = 1
const TEXT_BAND = 2
/** Of a side-band-64k packet, without its length and band. */
const BAND_BYTES_MAX = 65_515

export interface PushRefusal {
  /** Shown as `! [remote rejected] <ref> (<reason>)`. */
  reasonFor(update: RefUpdate): string
  /** Shown as `remote: …`. */
  lines: readonly string[]
}

/** The whole push refused. */
export function refusalReport(head: PushHead, { reasonFor, lines }: PushRefusal): Buffer {
  const results = head.updates.map((update) => pkt(`ng ${update.ref} ${reasonFor(update)}\n`))
  const report = Buffer.concat([pkt('unpack ok\n'), ...results, FLUSH])
  if (!head.capabilities.has('side-band-64k')) return report
  const text = Buffer.from(lines.map((line) => `${line}\n`).join(''))
  return Buffer.concat([...band(TEXT_BAND, text), ...band(REPORT_BAND, report), FLUSH])
}

function* band(number: number, data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += BAND_BYTES_MAX) {
    yield pkt(Buffer.concat([Buffer.from([number]), data.subarray(at, at + BAND_BYTES_MAX)]))
  }
}
