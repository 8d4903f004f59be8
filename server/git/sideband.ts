// The server's own answer to a push that git never gets to see: git's report with a reason per ref, and lines
// for the person. Said in the push's reply, because the text of an HTTP error there is not shown.
import { FLUSH, type PushHead, pkt, type RefUpdate } from './pkt-line.ts'

export const REPORT_BAND = 1
export const TEXT_BAND = 2
export const SIDEBAND = 'side-band-64k'
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
  if (!head.capabilities.has(SIDEBAND)) return report
  return Buffer.concat([textPackets(head, lines), ...band(REPORT_BAND, report), FLUSH])
}

/** Lines for the person, to be put before git's own answer; none for a client that can't show them. */
export function textPackets({ capabilities }: PushHead, lines: readonly string[]): Buffer {
  if (!capabilities.has(SIDEBAND)) return Buffer.alloc(0)
  return Buffer.concat([...band(TEXT_BAND, Buffer.from(lines.map((line) => `${line}\n`).join('')))])
}

export function* band(number: number, data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += BAND_BYTES_MAX) {
    yield pkt(Buffer.concat([Buffer.from([number]), data.subarray(at, at + BAND_BYTES_MAX)]))
  }
}
