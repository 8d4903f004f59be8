// The agent's end of the channel: a unix socket that socat relays to the agent's vsock port. Every caller is
// greeted, since a dial of the host may be given up half way; the first that answers `host_ready` is the
// host, and with it the listener closes, so that nothing can ever speak as the host or as the agent.
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
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
  greeting: AgentMessage
  onMessage(message: HostMessage): void
}

export async function openChannel({ path, greeting, onMessage }: ChannelOptions): Promise<Channel> {
  let host: Socket | undefined
  const callers = new Set<Socket>()
  const connected = signal()
  const closed = signal()

  rmSync(path, { force: true })
  const server = createServer((caller) => {
    callers.add(caller)
    caller.on('error', () => {}) // 'close' follows and is what counts
    caller.on('close', () => {
      callers.delete(caller)
      if (caller === host) closed.give()
    })
    caller.write(encode(greeting))
    readLines(caller, (message) => {
      if (message.type === 'host_ready') adopt(caller)
      if (caller === host) onMessage(message)
    })
  })
  function adopt(caller: Socket): void {
    if (host) return
    host = caller
    server.close()
    for (const other of callers) if (other !== host) other.destroy()
    connected.give()
  }
  await listen(server, path)

  let last: Promise<void> = connected.given
  async function send(message: AgentMessage): Promise<void> {
    const line = encode(message)
    if (line.length > MESSAGE_BYTES_MAX) {
      throw new Error(`a ${message.type} message of ${line.length} bytes is too long`)
    }
    last = last.then(() => write(host, line, closed.given))
    return last
  }

  return {
    connected: connected.given,
    closed: closed.given,
    send,
    async finish(): Promise<void> {
      await Promise.race([last, closed.given])
      await Promise.race([closed.given, sleep(RESULT_DRAIN_MS, undefined, { ref: false })])
      host?.destroy()
    },
  }
}

/** Something that happens once. */
function signal(): { given: Promise<void>; give: () => void } {
  let give: () => void = () => {}
  const given = new Promise<void>((resolve) => {
    give = resolve
  })
  return { given, give }
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  chmodSync(path, 0o600)
}

function encode(message: AgentMessage): Buffer {
  return Buffer.from(`${JSON.stringify(message)}\n`)
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
