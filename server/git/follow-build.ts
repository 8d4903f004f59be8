// Streams one build to whoever pushed it: events as lines, queue position, a sign of life in long silences.
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import { SIDEBAND_HEARTBEAT_MS } from '../limits.ts'
import { createTranscript, type Links } from './transcript.ts'

const POSITION_INTERVAL_MS = 2_000

export interface FollowBuildOptions {
  buildId: string
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  /** The build as the API shows it, for the last lines. */
  show(buildId: string): Promise<Build>
  links: Links
  /** Resolves when the lines are taken. */
  print(lines: string[]): Promise<void>
  signal: AbortSignal
}

/** Ends when the build does, or when nobody reads any more. */
export async function followBuild(options: FollowBuildOptions): Promise<void> {
  const { buildId, buildLog, show, links, print, signal } = options
  const transcript = createTranscript(buildId, links)
  await print(transcript.opening())
  let lastSaid = Date.now()
  let lastPosition: number | undefined
  let isQueued = true

  async function say(lines: string[]): Promise<void> {
    if (lines.length === 0) return
    lastSaid = Date.now()
    await print(lines)
  }

  async function tick(): Promise<void> {
    const position = isQueued ? await options.position(buildId) : undefined
    if (position !== undefined && position !== lastPosition) {
      lastPosition = position
      await say(transcript.position(position))
    }
    const silentMs = Date.now() - lastSaid
    if (silentMs >= SIDEBAND_HEARTBEAT_MS) await say(transcript.heartbeat(silentMs, position))
  }

  // A tick that fails (database away) is left out; the next one tries again.
  const timer = setInterval(() => void tick().catch(() => {}), POSITION_INTERVAL_MS)
  try {
    for await (const event of buildLog.follow(buildId, 0, signal)) {
      if (event.type === 'status') isQueued = event.status === 'queued'
      await say(transcript.event(event))
      if (event.type === 'status' && event.status === 'queued') {
        await new Promise((resolve) => setTimeout(resolve, 150)) // claimed at once, usually
        await tick()
      }
    }
    if (!signal.aborted) await say(transcript.ending(await show(buildId)))
  } finally {
    clearInterval(timer)
  }
}
