// The agent's end of the channel: a unix socket that socat relays to the agent's vsock port. It takes one
// connection, the host's, and closes the listener with it, so that no build step can ever speak as the agent.
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { RESULT_DRAIN_MS } from './limits.ts'
import { type AgentMessage, type HostMessage, MESSAGE_BYTES_MAX } from './protocol.ts'

export interface Channel {
  /** Resolves when the host is connected. */
  readonly connected: Promise<void>
  /** Resolves when the host is gone; nobody is there to build for any more. */
  readonly closed: Promise<void>
  /** Sends in call order; resolves when the host keeps up with what was sent. */
  send(message: AgentMessage): Promise<void>
  /** Resolves when the host has read everything and hung up, or after a deadline. */
  finish(): Promise<void>
}

export interface ChannelOptions {
  path: string
  onMessage(message: HostMessage): void
}

export async function openChannel({ path, onMessage }: ChannelOptions): Promise<Channel> {
  let socket: Socket | undefined
  let accept: () => void = () => {}
  let gone: () => void = () => {}
  const connected = new Promise<void>((resolve) => {
    accept = resolve
  })
  const closed = new Promise<void>((resolve) => {
    gone = resolve
  })

  rmSync(path, { force: true })
  const server = createServer((incoming) => {
    if (socket) {
      incoming.destroy()
      return
    }
    socket = incoming
    server.close()
    incoming.on('error', () => {}) // 'close' follows and is what counts
    incoming.on('close', gone)
    readLines(incoming, onMessage)
    accept()
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  chmodSync(path, 0o600)

  let last: Promise<void> = connected
  function send(message: AgentMessage): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(message)}\n`)
    if (line.length > MESSAGE_BYTES_MAX) {
      return Promise.reject(
        new Error(`a ${message.type} message of ${line.length} bytes is too long`),
      )
    }
    last = last.then(() => write(socket, line, closed))
    return last
  }

  return {
    connected,
    closed,
    send,
    async finish(): Promise<void> {
      await Promise.race([last, closed])
      await Promise.race([closed, sleep(RESULT_DRAIN_MS, undefined, { ref: false })])
      socket?.destroy()
    },
  }
}

async function write(
  socket: Socket | undefined,
  line: Buffer,
  closed: Promise<void>,
): Promise<void> {
  if (!socket?.writable) return
  if (socket.write(line)) return
  const drained = new Promise<void>((resolve) => socket.once('drain', resolve))
  await Promise.race([drained, closed])
}

/** Splits at newlines only; a message over the cap or one that does not parse ends the connection. */
function readLines(socket: Socket, onMessage: (message: HostMessage) => void): void {
  let pending: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    for (let end = pending.indexOf(10); end !== -1; end = pending.indexOf(10)) {
      const message = parse(pending.subarray(0, end))
      pending = pending.subarray(end + 1)
      if (!message) {
        socket.destroy()
        return
      }
      onMessage(message)
    }
    if (pending.length > MESSAGE_BYTES_MAX) socket.destroy()
  })
}

function parse(line: Buffer): HostMessage | undefined {
  try {
    const message = JSON.parse(line.toString('utf8')) as Record<string, unknown>
    if (message.type === 'host_ready') return { type: 'host_ready' }
    if (message.type === 'cancel') return { type: 'cancel', reason: String(message.reason ?? '') }
  } catch {
    // Falls through: what does not parse is treated like an unknown message.
  }
  return undefined
}
