// git's pkt-line framing, as far as the server looks into it: the command list at the head of a push.
import { PUSH_COMMANDS_BYTES_MAX, PUSH_REFS_MAX } from '../limits.ts'

const OID = '[0-9a-f]{40}'
const COMMAND = new RegExp(`^(${OID}) (${OID}) (.+)$`)
const SHALLOW = new RegExp(`^shallow ${OID}$`)
export const ZERO_OID = '0'.repeat(40)

export interface RefUpdate {
  oldSha: string
  newSha: string
  ref: string
}

export interface PushHead {
  updates: RefUpdate[]
  capabilities: Set<string>
  /** The bytes up to and including the flush packet. */
  bytes: Buffer
}

/** What the client sent is not a push; the sentence goes into the reply. */
export class PktLineError extends Error {
  override name = 'PktLineError'
}

export function pkt(text: string): Buffer {
  const body = Buffer.from(text)
  return Buffer.concat([Buffer.from((body.length + 4).toString(16).padStart(4, '0')), body])
}

export const FLUSH = Buffer.from('0000')

/**
 * Parses the command list when it is complete: undefined = more bytes are needed. A lone flush packet
 * (git's probe before a large push) gives no updates.
 */
export function parsePushHead(buffer: Buffer): PushHead | undefined {
  const updates: RefUpdate[] = []
  let capabilities = new Set<string>()
  let at = 0
  for (;;) {
    if (buffer.length < at + 4) return needMore(buffer)
    const digits = buffer.toString('latin1', at, at + 4)
    if (!/^[0-9a-fA-F]{4}$/.test(digits))
      throw new PktLineError(`bad packet length ${JSON.stringify(digits)}`)
    const length = Number.parseInt(digits, 16)
    if (length === 0) return { updates, capabilities, bytes: buffer.subarray(0, at + 4) }
    if (length < 5) throw new PktLineError(`bad packet length ${JSON.stringify(digits)}`)
    if (buffer.length < at + length) return needMore(buffer)
    const [line = '', caps] = buffer
      .toString('utf8', at + 4, at + length)
      .replace(/\n$/, '')
      .split('\0')
    if (caps !== undefined) capabilities = new Set(caps.trim().split(' '))
    at += length
    if (SHALLOW.test(line)) continue
    const [, oldSha, newSha, ref] = COMMAND.exec(line) ?? []
    if (!oldSha || !newSha || !ref) throw new PktLineError('a push begins with <old> <new> <ref>')
    updates.push({ oldSha, newSha, ref })
    if (updates.length > PUSH_REFS_MAX) {
      throw new PktLineError(`more than ${PUSH_REFS_MAX} refs in one push; push fewer at a time`)
    }
  }
}

function needMore(buffer: Buffer): undefined {
  if (buffer.length > PUSH_COMMANDS_BYTES_MAX) {
    throw new PktLineError(`the list of refs is over ${PUSH_COMMANDS_BYTES_MAX} bytes`)
  }
  return undefined
}

/** A whole push refused, in git's own words: `! [remote rejected] <ref> (<reason>)`. */
export function refusalReport(head: PushHead, reason: string): Buffer {
  const report = Buffer.concat([
    pkt('unpack ok\n'),
    ...head.updates.map(({ ref }) => pkt(`ng ${ref} ${reason}\n`)),
    FLUSH,
  ])
  if (!head.capabilities.has('side-band-64k')) return report
  const framed = Buffer.concat([Buffer.from([1]), report])
  const length = (framed.length + 4).toString(16).padStart(4, '0')
  return Buffer.concat([Buffer.from(length), framed, FLUSH])
}
