// Reads what a caller of the agent says: one JSON message per line, bounded, nothing but the known ones.
import type { Socket } from 'node:net'
import { CALLER_BYTES_MAX } from './limits.ts'
import type { HostMessage } from './protocol.ts'

/** Splits at newlines only; a message over the cap or one that is not known ends the connection. */
export function readHostMessages(socket: Socket, onMessage: (message: HostMessage) => void): void {
  let pending: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    for (let end = pending.indexOf(10); end !== -1; end = pending.indexOf(10)) {
      const message = parse(pending.subarray(0, end))
      pending = pending.subarray(end + 1)
      if (!message) socket.destroy()
      if (socket.destroyed || !message) return
      onMessage(message)
    }
    if (pending.length > CALLER_BYTES_MAX) socket.destroy()
  })
}

function parse(line: Buffer): HostMessage | undefined {
  let message: Record<string, unknown>
  try {
    message = Object(JSON.parse(line.toString('utf8')))
  } catch {
    return undefined
  }
  const { type, protocol, key, after, seq, reason } = message
  switch (type) {
    case 'host_ready':
      if (typeof protocol !== 'number') return undefined
      return { type, protocol, key: String(key ?? ''), after: Number(after ?? 0) }
    case 'ack':
      return { type, seq: Number(seq) }
    case 'get_status':
    case 'get_result':
      return { type }
    case 'cancel':
      return { type, reason: String(reason ?? '') }
    default:
      return undefined
  }
}
