// git's pkt-line framing, as far as the server looks into it: the command list and the options at the head of a
// push, and the first packet of a fetch. Reads packet by packet, so that the size of the client's chunks never matters.
import {
  PUSH_CAPABILITIES_BYTES_MAX,
  PUSH_COMMANDS_BYTES_MAX,
  PUSH_OPTIONS_BYTES_MAX,
  PUSH_OPTIONS_MAX,
  PUSH_REFS_MAX,
} from '../limits.ts'

const OID = '[0-9a-f]{40}'
const COMMAND = new RegExp(`^(${OID}) (${OID}) (.+)$`, 's')
const SHALLOW_WORD = 'shallow '
const SHALLOW = new RegExp(`^${SHALLOW_WORD}${OID}$`)
const WANT = new RegExp(`^want ${OID}\\b`)
const LENGTH_BYTES = 4
const PACKET_BYTES_MAX = 65_520

export const ZERO_OID = '0'.repeat(40)
export const FLUSH = Buffer.from('0000')

export interface RefUpdate {
  oldSha: string
  newSha: string
  ref: string
}

export interface PushHead {
  updates: RefUpdate[]
  capabilities: Set<string>
  /** What `git push -o` was given. */
  options: string[]
  /** As it came, up to and including the last flush packet before the pack. */
  bytes: Buffer
}

/** Where bytes come from; undefined = the body ends before that many. */
export interface ByteSource {
  take(bytes: number): Promise<Buffer | undefined>
}

/** What the client sent is not git's protocol; the sentence goes into the reply. */
export class PktLineError extends Error {
  override name = 'PktLineError'
}

/** A well-formed push that is over a limit; `head` is what was read of it, for the reply. */
export class PushTooLong extends PktLineError {
  readonly head: PushHead

  constructor(message: string, head: PushHead) {
    super(message)
    this.head = head
  }
}

export function pkt(content: string | Buffer): Buffer {
  const body = Buffer.from(content as string)
  const length = (body.length + LENGTH_BYTES).toString(16).padStart(LENGTH_BYTES, '0')
  return Buffer.concat([Buffer.from(length), body])
}

/**
 * Reads the command list of a push. No updates = a lone flush packet: git's probe before a large push.
 * Throws PktLineError when it is none, or the body ends in it.
 */
export async function readPushHead(source: ByteSource): Promise<PushHead> {
  const head: PushHead = { updates: [], capabilities: new Set(), options: [], bytes: FLUSH }
  const commands = await readList(source, (content, size) => {
    if (size > PUSH_COMMANDS_BYTES_MAX) {
      throw new PushTooLong(`the list of refs is over ${PUSH_COMMANDS_BYTES_MAX} bytes`, head)
    }
    readCommand(content, head)
  })
  if (head.updates.length === 0 || !head.capabilities.has('push-options')) {
    return { ...head, bytes: Buffer.concat(commands) }
  }
  const options = await readList(source, (content, size) => {
    if (size > PUSH_OPTIONS_BYTES_MAX || head.options.length === PUSH_OPTIONS_MAX) {
      const most = `${PUSH_OPTIONS_MAX} push options or ${PUSH_OPTIONS_BYTES_MAX} bytes of them`
      throw new PushTooLong(`more than ${most}`, head)
    }
    head.options.push(content.toString('utf8').replace(/\n$/, ''))
  })
  return { ...head, bytes: Buffer.concat([...commands, ...options]) }
}

/** Packets up to a flush packet, which is the last of them; `size` is that of all so far. */
async function readList(
  source: ByteSource,
  take: (content: Buffer, size: number) => void,
): Promise<Buffer[]> {
  const packets: Buffer[] = []
  let size = 0
  for (;;) {
    const packet = await readPacket(source)
    packets.push(packet.bytes)
    size += packet.bytes.length
    if (packet.content === undefined) return packets
    take(packet.content, size)
  }
}

function readCommand(content: Buffer, head: PushHead): void {
  const end = content.indexOf(0)
  if (end !== -1 && head.updates.length === 0) {
    const capabilities = content.toString('utf8', end + 1).trim()
    if (capabilities.length > PUSH_CAPABILITIES_BYTES_MAX) {
      throw new PktLineError(`the capabilities are over ${PUSH_CAPABILITIES_BYTES_MAX} bytes`)
    }
    head.capabilities = new Set(capabilities.split(' '))
  }
  const line = content.toString('utf8', 0, end === -1 ? content.length : end).replace(/\n$/, '')
  if (SHALLOW.test(line)) return
  const [, oldSha, newSha, ref] = COMMAND.exec(line) ?? []
  if (!oldSha || !newSha || !ref) throw new PktLineError('a push begins with <old> <new> <ref>')
  head.updates.push({ oldSha, newSha, ref })
  if (head.updates.length > PUSH_REFS_MAX) {
    throw new PushTooLong(`more than ${PUSH_REFS_MAX} refs in one push`, head)
  }
}

/** Writes down, also in the bytes, what a ref of the push is at before it. */
export function setOld(head: PushHead, update: RefUpdate, oldSha: string): void {
  let before = head.updates.indexOf(update)
  for (let at = 0; ; at += packetLength(head.bytes.subarray(at))!) {
    const content = at + LENGTH_BYTES
    if (head.bytes.toString('latin1', content, content + SHALLOW_WORD.length) === SHALLOW_WORD) {
      continue
    }
    if (before === 0) {
      head.bytes.write(oldSha, content, 'latin1')
      update.oldSha = oldSha
      return
    }
    before -= 1
  }
}

/** First packet of a fetch, with its length; undefined = the client wants nothing. */
export async function readFetchHead(source: ByteSource): Promise<Buffer | undefined> {
  const { bytes, content } = await readPacket(source)
  if (content === undefined) return undefined
  if (!WANT.test(content.toString('latin1'))) throw new PktLineError('a fetch begins with want')
  return bytes
}

/** Of the packet that begins there, its length included; undefined = there begins none. */
export function packetLength(bytes: Buffer): number | undefined {
  const digits = bytes.toString('latin1', 0, LENGTH_BYTES)
  const length = /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1
  if (length === 0) return LENGTH_BYTES
  return length <= LENGTH_BYTES || length > PACKET_BYTES_MAX ? undefined : length
}

async function readPacket(source: ByteSource): Promise<{ bytes: Buffer; content?: Buffer }> {
  const prefix = await source.take(LENGTH_BYTES)
  if (!prefix) throw new PktLineError('the request ends before its first flush packet')
  const length = packetLength(prefix)
  if (length === undefined) {
    throw new PktLineError(`bad packet length ${JSON.stringify(prefix.toString('latin1'))}`)
  }
  if (length === LENGTH_BYTES) return { bytes: prefix }
  const content = await source.take(length - LENGTH_BYTES)
  if (!content) throw new PktLineError('the request ends inside a packet')
  return { bytes: Buffer.concat([prefix, content]), content }
}
