// The events of a build as readers outside get them: JSON frames for SSE (seed 000's log, status and heartbeat,
// and our own step and attempt), and plain text lines.
import { z } from 'zod'
import { encodeFrame } from '../http/sse.ts'
import { EVENT_EXAMPLES } from './examples.ts'
import type { EventPages } from './log.ts'
import { type BuildEvent, BuildStatus, BuildStep } from './schema.ts'

const timestamp = z.string().meta({ description: 'RFC 3339: when it happened.' })

/** The `data` of a frame; its `id` is the number of the event. */
export const EventFrame = z
  .discriminatedUnion('type', [
    z.object({
      type: z.literal('log'),
      timestamp,
      content: z.string().optional().meta({ description: 'One line; absent when it is empty.' }),
      step: z.int().optional(),
    }),
    z.object({ type: z.literal('status'), timestamp, status: BuildStatus }),
    z.object({ type: z.literal('step'), timestamp, step: BuildStep }),
    z.object({ type: z.literal('attempt'), timestamp, attempt: z.int(), content: z.string() }),
    z.object({ type: z.literal('heartbeat'), timestamp }),
  ])
  .meta({
    id: 'BuildEvent',
    description: 'Ignore types you do not know.',
    examples: EVENT_EXAMPLES,
  })
export type EventFrame = z.infer<typeof EventFrame>

const encoded = new WeakMap<readonly BuildEvent[], Buffer>()

/** Each page as one chunk, encoded once for all who follow the build. */
export async function* toFrames(pages: EventPages): AsyncGenerator<Buffer> {
  for await (const events of pages) {
    const chunk = encoded.get(events) ?? encodePage(events)
    encoded.set(events, chunk)
    yield chunk
  }
}

/** The log without the changes of status: what a reader gets that does not follow. */
export async function* toLogFrames(pages: EventPages): AsyncGenerator<Buffer> {
  for await (const events of pages) {
    yield encodePage(events.filter((event) => event.type !== 'status'))
  }
}

/** Where a reader that resumes stands; not an event, so without a number. */
export function snapshotFrame(status: BuildStatus): { data: EventFrame } {
  return { data: { type: 'status', timestamp: new Date().toISOString(), status } }
}

function encodePage(events: readonly BuildEvent[]): Buffer {
  const frames = events.map((event) => encodeFrame({ id: event.seq, data: toFrame(event) }))
  return Buffer.from(frames.join(''))
}

function toFrame(event: BuildEvent): EventFrame {
  const at = event.at.toISOString()
  switch (event.type) {
    case 'log':
      return {
        type: 'log',
        timestamp: at,
        ...(event.line === '' ? {} : { content: event.line }),
        ...(event.step === undefined ? {} : { step: event.step }),
      }
    case 'status':
      return { type: 'status', timestamp: at, status: event.status }
    case 'step':
      return { type: 'step', timestamp: at, step: event.step }
    case 'attempt':
      return { type: 'attempt', timestamp: at, attempt: event.attempt, content: event.reason }
  }
}

/** The log as text: what was printed, and BuildKit's plain marks for the steps around it. */
export async function* toText(pages: EventPages): AsyncGenerator<string> {
  for await (const events of pages) {
    const lines = events.map(toLine).filter((line) => line !== undefined)
    yield lines.map((line) => `${line}\n`).join('')
  }
}

function toLine(event: BuildEvent): string | undefined {
  if (event.type === 'log') return event.line
  if (event.type === 'attempt') return `attempt ${event.attempt}: ${event.reason}`
  if (event.type === 'status') return undefined
  const { n, name, state, duration_ms: ms, error } = event.step
  switch (state) {
    case 'started':
      return `#${n} ${name}`
    case 'cached':
      return `#${n} ${name}\n#${n} CACHED`
    case 'done':
      return ms === undefined ? `#${n} DONE` : `#${n} DONE ${(ms / 1000).toFixed(1)}s`
    case 'failed':
      return `#${n} ERROR${error ? `: ${error}` : ''}`
  }
}
