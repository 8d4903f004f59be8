// GET /builds/{id}/events, and /logs by its older name: the log as it is, or followed to the build's end.
import { z } from 'zod'
import { BooleanText } from '../http/query.ts'
import { route, type Sink } from '../http/route.ts'
import { lastEventId, SSE_HEADERS, SSE_TYPE, sse } from '../http/sse.ts'
import { writeStream } from '../http/stream.ts'
import { STREAM_STALL_MS } from '../limits.ts'
import { EventFrame, snapshotFrame, toFrames, toLogFrames, toText } from './event-frames.ts'
import { PLAIN_LOG_EXAMPLE } from './examples.ts'
import type { EventPages } from './log.ts'
import type { BuildRoutesOptions } from './routes.ts'
import { BuildId, type BuildStatus, TERMINAL } from './schema.ts'

const TEXT_TYPE = 'text/plain; charset=utf-8'

export function eventsRoute({ builds, sseOptions }: BuildRoutesOptions, id: string, path: string) {
  return route({
    tag: 'builds',
    resource: 'build',
    id,
    method: 'get',
    path,
    summary: "A build's log as far as it is, or with its steps and changes of status as they come",
    permission: 'build:read',
    params: z.object({ id: BuildId }),
    query: z.strictObject({
      follow: BooleanText.default(false).meta({
        description:
          'Stay until the build ends: a status comes first, the terminal status last. Without it: the log, then the end.',
      }),
    }),
    headers: z.object({
      'Last-Event-ID': z.string().optional().meta({
        description: 'Number of the last event the reader has: it goes on behind it.',
        pattern: '^[0-9]{0,15}$',
      }),
    }),
    replies: {
      200: {
        description: 'Numbered events; with `Accept: text/plain` and without follow the plain log',
        content: {
          [SSE_TYPE]: EventFrame,
          'text/plain': z.string().meta({ examples: [PLAIN_LOG_EXAMPLE] }),
        },
      },
      204: { description: 'The build is finished and nothing follows Last-Event-ID' },
    },
    async handle({ principal, params, query: { follow }, header, accepts, signal }) {
      const range = { afterSeq: lastEventId(header('last-event-id')), signal }
      if (follow) {
        const found = await builds.follow(principal, params.id, range)
        // 204 is what makes an EventSource stop reconnecting.
        if (!found) return { status: 204, empty: true }
        const frames = withStatusFirst(found.resumedIn, found.pages)
        return {
          status: 200,
          type: SSE_TYPE,
          headers: SSE_HEADERS,
          stream: sse(frames, sseOptions),
        }
      }
      const pages = await builds.events(principal, params.id, range)
      if (accepts(SSE_TYPE, 'text/plain') === 'text/plain') {
        const stallMs = sseOptions?.stallMs ?? STREAM_STALL_MS
        const stream = (sink: Sink) => writeStream({ ...sink, chunks: toText(pages), stallMs })
        return { status: 200, type: TEXT_TYPE, stream }
      }
      const frames = toLogFrames(pages)
      return { status: 200, type: SSE_TYPE, headers: SSE_HEADERS, stream: sse(frames, sseOptions) }
    },
  })
}

// A terminal status ends a reader, so it never comes before the lines that are left.
async function* withStatusFirst(resumedIn: BuildStatus | undefined, pages: EventPages) {
  if (resumedIn !== undefined && !TERMINAL.has(resumedIn)) yield snapshotFrame(resumedIn)
  yield* toFrames(pages)
}
