// Streams one build to whoever pushed it: events as lines, queue position, a sign of life in long silences.
import { setTimeout as sleep } from 'node:timers/promises'
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import { SIDEBAND_HEARTBEAT_MS, SIDEBAND_POSITION_POLL_MS } from '../limits.ts'
import { createTranscript, type Links } from './transcript.ts'

/** A build is claimed within milliseconds when a slot is free: its position is then not worth a line. */
const CLAIM_WAIT_MS = 150

export interface FollowBuildOptions {
  buildId: string
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  /** The build as the API shows it, for the last lines. */
  show(buildId: string): Promise<Build>
  links: Links
  /** Resolves when the lines are taken. */
  print(lines: readonly string[]): Promise<void>
  signal: AbortSignal
  heartbeatMs?: number | undefined
}

/** Ends when the build does, or when the signal says that nobody reads any more. */
export async function followBuild(options: FollowBuildOptions): Promise<void> {
  const { buildId, buildLog, show, links, print, signal } = options
  const { heartbeatMs = SIDEBAND_HEARTBEAT_MS } = options
  const transcript = createTranscript({ buildId, links })
  let lastSaid = Date.now()
  let lastPosition: number | undefined
  let isQueued = true

  async function say(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return
    lastSaid = Date.now()
    await print(lines)
  }

  async function tick(): Promise<void> {
    const asked = isQueued ? await options.position(buildId) : undefined
    const position = isQueued ? asked : undefined // it may have left the queue meanwhile
    if (position !== undefined && position !== lastPosition) {
      lastPosition = position
      await say(transcript.position(position))
    }
    if (Date.now() - lastSaid >= heartbeatMs) await say(transcript.heartbeat(position))
  }

  /** One at a time: a slow database must not make them pile up. */
  async function ticks(stop: AbortSignal): Promise<void> {
    await sleep(CLAIM_WAIT_MS, undefined, { signal: stop })
    for (;;) {
      await tick().catch(() => {}) // the database is away: the next one tries again
      await sleep(Math.min(SIDEBAND_POSITION_POLL_MS, heartbeatMs), undefined, { signal: stop })
    }
  }

  const ended = new AbortController()
  await say(transcript.opening())
  const ticking = ticks(ended.signal).catch(() => {}) // ended by the signal
  try {
    for await (const event of buildLog.follow(buildId, 0, signal)) {
      if (event.type === 'status') isQueued = event.status === 'queued'
      await say(transcript.event(event))
    }
  } finally {
    ended.abort()
    await ticking
  }
  if (!signal.aborted) await say(transcript.ending(await show(buildId)))
}
