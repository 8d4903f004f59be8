// Streams one build to whoever pushed it: events as lines, queue position, a sign of life in long silences.
// A gated push is followed in two parts, by two hooks; the second goes on where the first has stopped.
import { setTimeout as sleep } from 'node:timers/promises'
import type { BuildLog } from '../builds/log.ts'
import { type Build, TERMINAL } from '../builds/schema.ts'
import { SIDEBAND_HEARTBEAT_MS, SIDEBAND_POSITION_POLL_MS } from '../limits.ts'
import { createTranscript, type TranscriptOptions } from './transcript.ts'

/** A build is claimed within milliseconds when a slot is free: its position is then not worth a line. */
const CLAIM_WAIT_MS = 150

export interface BuildFollowerOptions extends Omit<TranscriptOptions, 'now'> {
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  /** Why queued builds wait, if not for their turn. */
  waitReason(): Promise<string | undefined>
  /** The build as the API shows it, for the last lines. */
  show(buildId: string): Promise<Build>
  /** Only how it begins and ends. */
  quiet: boolean
  heartbeatMs?: number | undefined
}

/** Resolves when the lines are taken. */
type Print = (lines: readonly string[]) => Promise<void>

export type BuildFollower = ReturnType<typeof createBuildFollower>

export function createBuildFollower(options: BuildFollowerOptions) {
  const { buildId, buildLog, show, quiet } = options
  const { heartbeatMs = SIDEBAND_HEARTBEAT_MS } = options
  const transcript = createTranscript(options)
  let lastSaid = performance.now()
  let lastPosition: number | undefined
  let lastReason: string | undefined
  let lastSeq = 0
  let isQueued = true

  async function say(print: Print, lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return
    lastSaid = performance.now()
    await print(lines)
  }

  async function tick(print: Print): Promise<void> {
    const asked = isQueued ? await options.position(buildId) : undefined
    const reason = asked === undefined ? undefined : await options.waitReason()
    const position = isQueued ? asked : undefined // it may have left the queue meanwhile
    const isNews = position !== lastPosition || reason !== lastReason
    if (position !== undefined && isNews) {
      lastPosition = position
      lastReason = reason
      await say(print, transcript.position(position, reason))
    }
    if (performance.now() - lastSaid >= heartbeatMs)
      await say(print, transcript.heartbeat(position))
  }

  /** One at a time: a slow database must not make them pile up. */
  async function ticks(print: Print, stop: AbortSignal): Promise<void> {
    await sleep(CLAIM_WAIT_MS, undefined, { signal: stop })
    for (;;) {
      await tick(print).catch(() => {}) // the database is away: the next one tries again
      await sleep(Math.min(SIDEBAND_POSITION_POLL_MS, heartbeatMs), undefined, { signal: stop })
    }
  }

  return {
    opening: (print: Print) => say(print, transcript.opening()),

    /** Ends when the build does, or when the signal says that nobody reads any more. */
    async follow(print: Print, signal: AbortSignal): Promise<void> {
      const ended = new AbortController()
      const ticking = quiet ? undefined : ticks(print, ended.signal).catch(() => {}) // ended by the signal
      try {
        for await (const event of buildLog.follow(buildId, lastSeq, signal)) {
          if (event.type === 'status') isQueued = event.status === 'queued'
          const lines = transcript.event(event)
          if (!quiet) await say(print, lines)
          lastSeq = event.seq
        }
      } finally {
        ended.abort()
        await ticking
      }
    },

    /** How it ended; nothing when it has not. */
    async ending(print: Print): Promise<void> {
      const build = await show(buildId)
      if (TERMINAL.has(build.status)) await print(transcript.ending(build))
    },
  }
}
