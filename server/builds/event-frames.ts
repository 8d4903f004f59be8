// The events of a build as readers outside get them: JSON frames for SSE (seed 000's log, status and heartbeat,
// and our own step and attempt), and plain text lines.
import { z } from 'zod'
import { EVENT_EXAMPLES } from './examples.ts'
import { type BuildEvent, BuildStatus } from './schema.ts'

const timestamp = z.string().meta({ description: 'RFC 3339: when it happened.' })

const StepFrame = z.object({
  n: z.int(),
  name: z.string(),
  state: z.enum(['started', 'cached', 'done', 'failed']),
  started_at: z.string().optional(),
  completed_at: z.string().optional(),
  duration_ms: z.number().optional(),
  error: z.string().optional(),
})

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
    z.object({ type: z.literal('step'), timestamp, step: StepFrame }),
    z.object({ type: z.literal('attempt'), timestamp, attempt: z.int(), content: z.string() }),
    z.object({ type: z.literal('heartbeat'), timestamp }),
  ])
  .meta({
    id: 'BuildEvent',
    description: 'Ignore types you do not know.',
    examples: EVENT_EXAMPLES,
  })
export type EventFrame = z.infer<typeof EventFrame>

export async function* toFrames(
  events: AsyncIterable<BuildEvent>,
): AsyncGenerator<{ id: number; data: EventFrame }> {
  for await (const event of events) yield { id: event.seq, data: toFrame(event) }
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
export async function* toText(events: AsyncIterable<BuildEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const line = toLine(event)
    if (line !== undefined) yield `${line}\n`
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
