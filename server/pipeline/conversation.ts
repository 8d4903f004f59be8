// Host side of the talk with one agent: greet, pass its events on, return its result. A channel that breaks is
// dialled anew and goes on where it was; the clocks go on as well. Nothing the agent says is trusted beyond
// its shape.
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentMessage,
  type BuildResult,
  type FetchedSource,
  type NumberedMessage,
  PROTOCOL_VERSION,
} from '../../agent/protocol.ts'
import type { NewEvent } from '../builds/event-store.ts'
import { joinSignals } from '../join-signals.ts'
import {
  AGENT_ACK_DELAY_MS,
  AGENT_ACK_MESSAGES,
  AGENT_REDIAL_DELAY_MS,
  BOOT_DEADLINE_MS,
  HELLO_DEADLINE_MS,
  PREPARE_DEADLINE_MS,
  PUSH_DEADLINE_MS,
} from '../limits.ts'
import { BuildFailure } from './failure.ts'
import { readMessages, sendMessage } from './messages.ts'
import { createWatch, WATCH_TIMES, type Watch } from './watch.ts'

export interface ConversationHandlers {
  onHello(): Promise<void>
  onPushing(): Promise<void>
  onEvent(event: NewEvent): Promise<void>
  /** Only of a build whose source the agent fetches. */
  onSource?: ((source: FetchedSource) => Promise<void>) | undefined
  /** The channel broke and is there again. */
  onReconnect(): void
}

export interface ConversationOptions {
  buildId: string
  /** What makes this host the agent's host. */
  key: string
  /** Dials the agent until it answers; rejects when it can't any more. */
  dial(signal: AbortSignal): Promise<Duplex>
  /** Ends the conversation. */
  signal: AbortSignal
  handlers: ConversationHandlers
  /** How long the agent may still export its cache when a build has succeeded; absent when it has none to export. */
  cacheExportMs?: number | undefined
  times?: Partial<typeof WATCH_TIMES>
}

interface Talk {
  options: ConversationOptions
  watch: Watch
  /** Number of the last message that was taken. */
  last: number
  saidHello: boolean
  /** Of a success, while its cache is exported: whatever comes now, the build has succeeded. */
  result: BuildResult | undefined
  channel: Duplex | undefined
  ackTimer: NodeJS.Timeout | undefined
  unacknowledged: number
}

export async function converse(options: ConversationOptions): Promise<BuildResult> {
  const watch = createWatch({
    times: { ...WATCH_TIMES, ...options.times },
    ask: () => talk.channel && sendMessage(talk.channel, { type: 'get_status' }),
    redial: () => talk.channel?.destroy(),
  })
  const talk: Talk = {
    options,
    watch,
    last: 0,
    saidHello: false,
    result: undefined,
    channel: undefined,
    ackTimer: undefined,
    unacknowledged: 0,
  }
  const over = joinSignals([options.signal, watch.signal])
  const onOver = () => talk.channel?.destroy()
  over.signal.addEventListener('abort', onOver, { once: true })
  try {
    for (let round = 1; ; round += 1) {
      talk.channel = await connect(talk, over.signal, round)
      const result = await listen(talk, talk.channel, over.signal)
      if (result) return result
      if (talk.result) return talk.result
      watch.broken()
      await sleep(AGENT_REDIAL_DELAY_MS, undefined, { signal: over.signal }).catch(() => {})
      over.signal.throwIfAborted()
    }
  } catch (error) {
    if (talk.result) return talk.result
    throw error
  } finally {
    over.dispose()
    watch.stop()
    clearTimeout(talk.ackTimer)
    talk.channel?.end()
    talk.channel?.on('error', () => {})
  }
}

async function connect(talk: Talk, signal: AbortSignal, round: number): Promise<Duplex> {
  // The first answer waits for a machine to boot; later ones have the watch's limit of an outage.
  const boot = joinSignals([signal], round === 1 ? BOOT_DEADLINE_MS : undefined)
  try {
    const channel = await talk.options.dial(boot.signal)
    if (round === 1) talk.watch.phase('hello', HELLO_DEADLINE_MS)
    return channel
  } finally {
    boot.dispose()
  }
}

/** Until the result; undefined when the channel broke first. */
async function listen(
  talk: Talk,
  channel: Duplex,
  signal: AbortSignal,
): Promise<BuildResult | undefined> {
  const messages = readMessages(channel)
  let isGreeted = false
  try {
    for (;;) {
      talk.watch.listen()
      const message = await next(messages)
      signal.throwIfAborted()
      if (!message) return undefined
      if (!isGreeted) {
        await greet(talk, channel, message)
        isGreeted = true
        continue
      }
      talk.watch.heard()
      const result = await take(talk, message)
      if (result) return result
    }
  } catch (error) {
    channel.destroy()
    if (error instanceof BuildFailure || signal.aborted) throw error
    throw new BuildFailure('infra', `what the build agent told could not be taken: ${error}`, {
      cause: error,
    })
  }
}

/** A channel that breaks is like one that ends; only a message that should not be is a failure. */
async function next(messages: AsyncGenerator<AgentMessage>): Promise<AgentMessage | undefined> {
  try {
    const { value, done } = await messages.next()
    return done ? undefined : value
  } catch (error) {
    if (error instanceof BuildFailure) throw error
    return undefined
  }
}

async function greet(talk: Talk, channel: Duplex, message: AgentMessage): Promise<void> {
  const { buildId, key, handlers } = talk.options
  if (message.type !== 'hello') {
    throw new BuildFailure('infra', `the build agent began with ${message.type} instead of hello`)
  }
  // An agent that could not read its configuration does not know its build, and will say so.
  if (message.job_id !== buildId && message.job_id !== 'unknown') {
    throw new BuildFailure('infra', `the build agent says it has build ${message.job_id}`)
  }
  const protocol = PROTOCOL_VERSION
  sendMessage(channel, { type: 'host_ready', protocol, key, after: talk.last })
  if (talk.saidHello) {
    handlers.onReconnect()
    sendMessage(channel, { type: 'get_status' })
    return
  }
  talk.saidHello = true
  talk.watch.heard()
  talk.watch.phase('prepare', PREPARE_DEADLINE_MS)
  await handlers.onHello()
}

async function take(talk: Talk, message: AgentMessage): Promise<BuildResult | undefined> {
  if ('seq' in message) return takeNumbered(talk, message)
  if (message.type === 'error') {
    throw new BuildFailure('infra', `the build agent refuses the server: ${message.error}`)
  }
  // It has ended, and something of what it told has not come. Nothing may pile up for one that does not read.
  if (message.type !== 'status' || message.status !== 'completed') return undefined
  if (talk.channel && !talk.channel.writableNeedDrain) {
    sendMessage(talk.channel, { type: 'get_result' })
  }
  return undefined
}

async function takeNumbered(
  talk: Talk,
  message: NumberedMessage,
): Promise<BuildResult | undefined> {
  const { seq } = message
  if (seq <= talk.last) return undefined
  if (seq > talk.last + 1) {
    const gap = `message ${seq} followed message ${talk.last}`
    throw new BuildFailure('infra', `the build agent left something out: ${gap}`)
  }
  if (message.type === 'result' || message.type === 'cache') return end(talk, message)
  await handle(message, talk)
  talk.last = seq
  talk.unacknowledged += 1
  if (talk.unacknowledged >= AGENT_ACK_MESSAGES) acknowledge(talk)
  else acknowledgeSoon(talk)
  return undefined
}

/** The result, when nothing is to come any more. */
function end(
  talk: Talk,
  message: Extract<NumberedMessage, { type: 'result' | 'cache' }>,
): BuildResult | undefined {
  talk.last = message.seq
  acknowledge(talk)
  if (message.type === 'cache') return exported(talk, message.exported)
  // Thrown here it ends the conversation with the first one.
  if (talk.result) throw new BuildFailure('infra', 'the build agent told a second result')
  const { result } = message
  const { cacheExportMs } = talk.options
  if (!result.success || cacheExportMs === undefined) return result
  talk.result = result
  talk.watch.phase('cache', cacheExportMs)
  return undefined
}

function exported({ result }: Talk, isExported: boolean): BuildResult {
  if (!result) {
    throw new BuildFailure('infra', 'the build agent told of a cache that it was not to export')
  }
  return { ...result, cache: { imported: [], ...result.cache, exported: isExported } }
}

function acknowledgeSoon(talk: Talk): void {
  talk.ackTimer ??= setTimeout(() => acknowledge(talk), AGENT_ACK_DELAY_MS)
}

function acknowledge(talk: Talk): void {
  clearTimeout(talk.ackTimer)
  talk.ackTimer = undefined
  if (!talk.channel?.writable) return // the next one begins with what was taken
  if (talk.channel.writableNeedDrain) {
    // It does not read; nothing may pile up here for it.
    acknowledgeSoon(talk)
    return
  }
  talk.unacknowledged = 0
  sendMessage(talk.channel, { type: 'ack', seq: talk.last })
}

async function handle(
  message: Exclude<NumberedMessage, { type: 'result' | 'cache' }>,
  { watch, options: { handlers } }: Talk,
): Promise<void> {
  switch (message.type) {
    case 'status':
      if (message.status === 'building') watch.phase('build', undefined)
      if (message.status !== 'pushing') return
      watch.phase('push', PUSH_DEADLINE_MS)
      return handlers.onPushing()
    case 'step':
      return handlers.onEvent({ type: 'step', step: message.step })
    case 'source':
      if (handlers.onSource) return handlers.onSource(message.source)
      throw new BuildFailure('infra', 'the build agent told of a source that it was not to fetch')
    case 'log': {
      const { log: line, step } = message
      return handlers.onEvent({ type: 'log', line, ...(step === undefined ? {} : { step }) })
    }
  }
}
