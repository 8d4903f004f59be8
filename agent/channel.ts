// The agent's end of the channel: a unix socket that is relayed to the agent's port. Every caller is greeted,
// but only one that shows the key of the build becomes the host; build steps may dial as well. A host that
// comes again takes the place of its earlier connection and gets what it has not acknowledged.
import { createHash, timingSafeEqual } from 'node:crypto'
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { readHostMessages } from './host-messages.ts'
import { CALLER_DEADLINE_MS, CALLERS_MAX, HOST_ABSENCE_MAX_MS } from './limits.ts'
import { createOutbox } from './outbox.ts'
import {
  type AgentMessage,
  type AgentPhase,
  type EventMessage,
  type HostMessage,
  PROTOCOL_VERSION,
} from './protocol.ts'

export interface Channel {
  /** Resolves when the host is connected for the first time. */
  readonly connected: Promise<void>
  /** Resolves when the host has stayed away for too long; nobody is there to build for any more. */
  readonly closed: Promise<void>
  /** Numbers and keeps the message; resolves when the host keeps up with what was told. */
  send(message: EventMessage): Promise<void>
  /** Says that the agent lives, when the channel is idle. */
  heartbeat(): void
  /** Resolves when the host has taken everything or stays away. */
  finish(): Promise<void>
}

export interface ChannelOptions {
  path: string
  greeting: AgentMessage
  /** Undefined when the configuration could not be read: then there is nothing to guard. */
  key: string | undefined
  onCancel(reason: string): void
  hostAbsenceMaxMs?: number
}

interface Host {
  socket: Socket
  /** Number of the last message written to this connection. */
  sent: number
  isCongested: boolean
}

export async function openChannel(options: ChannelOptions): Promise<Channel> {
  const { path, greeting, key, onCancel, hostAbsenceMaxMs = HOST_ABSENCE_MAX_MS } = options
  const outbox = createOutbox()
  const callers = new Map<Socket, NodeJS.Timeout>()
  const connected = signal()
  const closed = signal()
  let host: Host | undefined
  let isClosed = false
  let absence: NodeJS.Timeout | undefined
  let phase: AgentPhase | 'completed' = 'preparing'

  rmSync(path, { force: true })
  const server = createServer((caller) => {
    welcome(caller)
    caller.on('error', () => {}) // 'close' follows and is what counts
    caller.on('close', () => {
      forget(caller)
      if (host?.socket === caller) lost()
    })
    caller.write(encode(greeting))
    readHostMessages(caller, (message) => {
      if (host?.socket === caller) obey(message, host)
      else if (message.type === 'host_ready') adopt(caller, message)
      else caller.destroy()
    })
  })
  await listen(server, path)
  server.unref() // the build is what keeps the agent running

  function welcome(caller: Socket): void {
    const [oldest] = callers.keys()
    if (callers.size >= CALLERS_MAX) oldest?.destroy()
    callers.set(caller, setTimeout(() => caller.destroy(), CALLER_DEADLINE_MS).unref())
  }

  function forget(caller: Socket): void {
    clearTimeout(callers.get(caller))
    callers.delete(caller)
  }

  function adopt(caller: Socket, message: HostMessage & { type: 'host_ready' }): void {
    if (isClosed || !isKey(message.key, key)) {
      caller.destroy()
      return
    }
    const refusal = refuse(message)
    if (refusal) {
      caller.end(encode({ type: 'error', error: refusal }))
      return
    }
    forget(caller)
    clearTimeout(absence)
    const earlier = host?.socket
    host = { socket: caller, sent: message.after, isCongested: false }
    earlier?.destroy()
    connected.give()
    pump(host)
  }

  function refuse({ protocol, after }: HostMessage & { type: 'host_ready' }): string | undefined {
    if (protocol !== PROTOCOL_VERSION) {
      return `this agent speaks version ${PROTOCOL_VERSION} of the protocol, not ${protocol}`
    }
    if (outbox.acknowledge(after)) return undefined
    const { acknowledged, last } = outbox
    return `the host wants what follows message ${after}, the agent has ${acknowledged + 1} to ${last}`
  }

  function obey(message: HostMessage, to: Host): void {
    switch (message.type) {
      case 'ack':
        // What it has not been sent it cannot have.
        if (message.seq > to.sent || !outbox.acknowledge(message.seq)) to.socket.destroy()
        return
      case 'get_status':
        to.socket.write(encode({ type: 'status', status: phase, last: outbox.last }))
        return
      case 'get_result':
        to.sent = outbox.acknowledged
        pump(to)
        return
      case 'cancel':
        onCancel(message.reason)
        return
      case 'host_ready':
        to.socket.destroy()
    }
  }

  function lost(): void {
    host = undefined
    if (isClosed) return
    absence = setTimeout(giveUp, hostAbsenceMaxMs)
  }

  function giveUp(): void {
    isClosed = true
    server.close()
    outbox.abandon()
    closed.give()
  }

  /** Writes what this connection has not had yet, as fast as it is read. */
  function pump(to: Host): void {
    while (!to.isCongested && to.socket.writable && to === host) {
      const line = outbox.line(to.sent + 1)
      if (!line) return
      to.sent += 1
      if (to.socket.write(line)) continue
      to.isCongested = true
      to.socket.once('drain', () => {
        to.isCongested = false
        pump(to)
      })
    }
  }

  return {
    connected: connected.given,
    closed: closed.given,
    async send(message: EventMessage): Promise<void> {
      outbox.add(message)
      if (message.type === 'status') phase = message.status
      if (message.type === 'result') phase = 'completed'
      if (host) pump(host)
      await outbox.room()
    },
    heartbeat(): void {
      if (host?.socket.writable && !host.isCongested)
        host.socket.write(encode({ type: 'heartbeat' }))
    },
    async finish(): Promise<void> {
      await outbox.empty()
      isClosed = true
      clearTimeout(absence)
      server.close()
      for (const caller of callers.keys()) caller.destroy()
      host?.socket.end()
    },
  }
}

/** Hashed first, because only strings of one length can be compared in constant time. */
function isKey(shown: string, key: string | undefined): boolean {
  if (key === undefined) return true
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(shown), hash(key))
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
