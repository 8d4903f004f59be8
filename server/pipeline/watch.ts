// The clock of a conversation, across all its connections: the deadline of the phase, how long the agent may
// be silent, how long it may be out of reach. The first that runs out ends the conversation by its signal.
import {
  AGENT_ASK_AFTER_MS,
  AGENT_REDIAL_AFTER_MS,
  AGENT_REDIAL_MAX_MS,
  AGENT_SILENCE_MAX_MS,
} from '../limits.ts'
import { BuildFailure } from './failure.ts'

export const WATCH_TIMES = {
  askAfterMs: AGENT_ASK_AFTER_MS,
  redialAfterMs: AGENT_REDIAL_AFTER_MS,
  silenceMaxMs: AGENT_SILENCE_MAX_MS,
  redialMaxMs: AGENT_REDIAL_MAX_MS,
}

export interface WatchOptions {
  /** The agent has been quiet for a while. */
  ask(): void
  /** It has not answered either. */
  redial(): void
  times: typeof WATCH_TIMES
}

export type Watch = ReturnType<typeof createWatch>

export function createWatch({ ask, redial, times }: WatchOptions) {
  const over = new AbortController()
  const { askAfterMs, redialAfterMs, silenceMaxMs, redialMaxMs } = times
  const seconds = (ms: number) => `${ms / 1000} s`
  const fail = (message: string) =>
    over.abort(Object.assign(new BuildFailure('infra', message), { mayRetry: true }))
  const silent = () => fail(`the build agent was silent for ${seconds(silenceMaxMs)}`)

  let deadline: NodeJS.Timeout | undefined
  let outage: NodeJS.Timeout | undefined
  let silence: NodeJS.Timeout[] = []

  function hush(): void {
    for (const timer of silence) clearTimeout(timer)
    silence = []
  }

  function listen(): void {
    if (silence.length > 0) return
    silence = [
      setTimeout(ask, askAfterMs),
      setTimeout(redial, redialAfterMs),
      setTimeout(silent, silenceMaxMs),
    ]
  }

  return {
    signal: over.signal,
    /** A phase without a deadline of its own is bounded by the build's timeout. */
    phase(name: string, deadlineMs: number | undefined): void {
      clearTimeout(deadline)
      if (deadlineMs === undefined) return
      const message = `phase ${name} took longer than ${seconds(deadlineMs)}`
      deadline = setTimeout(() => fail(message), deadlineMs)
    },
    /** From now on the agent is expected to speak. */
    listen,
    /** It has; while the host works on what it said, nobody waits for it. */
    heard(): void {
      hush()
      clearTimeout(outage)
      outage = undefined
    },
    broken(): void {
      const message = `the build agent was out of reach for ${seconds(redialMaxMs)}`
      outage ??= setTimeout(() => fail(message), redialMaxMs)
    },
    stop(): void {
      hush()
      clearTimeout(deadline)
      clearTimeout(outage)
    },
  }
}
