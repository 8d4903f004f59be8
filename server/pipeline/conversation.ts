// Host side of the talk with one agent: greet, pass its events on, return its result. Each phase has its
// own deadline and name, and silence has one too; nothing the agent says is trusted beyond its shape.
import type { Duplex } from 'node:stream'
import type { AgentMessage, BuildResult } from '../../agent/protocol.ts'
import type { NewEvent } from '../builds/event-store.ts'
import {
  AGENT_SILENCE_MAX_MS,
  HELLO_DEADLINE_MS,
  PREPARE_DEADLINE_MS,
  PUSH_DEADLINE_MS,
} from '../limits.ts'
import { BuildFailure } from './failure.ts'
import { readMessages, sendMessage } from './messages.ts'

export interface ConversationHandlers {
  onHello(): Promise<void>
  onPushing(): Promise<void>
  onEvent(event: NewEvent): Promise<void>
}

export async function converse(
  channel: Duplex,
  handlers: ConversationHandlers,
): Promise<BuildResult> {
  const watch = createWatch((failure) => channel.destroy(failure))
  try {
    sendMessage(channel, { type: 'host_ready' })
    watch.phase('hello', HELLO_DEADLINE_MS)
    for await (const message of readMessages(channel)) {
      watch.heard()
      if (message.type === 'result') return message.result
      await handle(message, handlers, watch)
    }
  } catch (error) {
    if (error instanceof BuildFailure) throw error
    throw new BuildFailure('infra', `the connection to the build agent broke: ${error}`, {
      cause: error,
    })
  } finally {
    watch.stop()
  }
  throw new BuildFailure('infra', 'the build agent closed the connection without a result')
}

async function handle(
  message: Exclude<AgentMessage, { type: 'result' }>,
  handlers: ConversationHandlers,
  watch: Watch,
): Promise<void> {
  switch (message.type) {
    case 'hello':
      watch.phase('prepare', PREPARE_DEADLINE_MS)
      return handlers.onHello()
    case 'status':
      if (message.status === 'building') watch.phase('build', undefined)
      if (message.status !== 'pushing') return
      watch.phase('push', PUSH_DEADLINE_MS)
      return handlers.onPushing()
    case 'step':
      return handlers.onEvent({ type: 'step', step: message.step })
    case 'log': {
      const { log: line, step } = message
      return handlers.onEvent({ type: 'log', line, ...(step === undefined ? {} : { step }) })
    }
    case 'heartbeat':
      return
  }
}

type Watch = ReturnType<typeof createWatch>

/** Two timers: the deadline of the phase, and how long the agent may be silent. */
function createWatch(onFailure: (failure: BuildFailure) => void) {
  let deadline: NodeJS.Timeout | undefined
  const silence = setTimeout(
    () => fail(`the build agent was silent for ${AGENT_SILENCE_MAX_MS / 1000} s`),
    AGENT_SILENCE_MAX_MS,
  )
  const fail = (message: string) => onFailure(new BuildFailure('infra', message))
  return {
    /** A phase without a deadline of its own is bounded by the build's timeout. */
    phase(name: string, deadlineMs: number | undefined): void {
      clearTimeout(deadline)
      if (deadlineMs === undefined) return
      const message = `phase ${name} took longer than ${deadlineMs / 1000} s`
      deadline = setTimeout(() => fail(message), deadlineMs)
    },
    heard(): void {
      silence.refresh()
    },
    stop(): void {
      clearTimeout(deadline)
      clearTimeout(silence)
    },
  }
}
