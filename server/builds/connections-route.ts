// GET /builds/{id}/connections: what a build reached and what it was refused, as JSON in pages or as NDJSON.
import { z } from 'zod'
import { route, type Sink } from '../http/route.ts'
import { writeStream } from '../http/stream.ts'
import { CONNECTIONS_PAGE_ROWS_MAX, STREAM_STALL_MS } from '../limits.ts'
import { BuildConnections, NetworkConnection } from './connections.ts'
import { BuildId } from './schema.ts'
import type { Builds } from './service.ts'

const JSON_TYPE = 'application/json'
const NDJSON_TYPE = 'application/x-ndjson'

export function connectionsRoute(builds: Builds) {
  return route({
    id: 'getBuildConnections',
    tag: 'builds',
    resource: 'build',
    method: 'get',
    path: '/builds/{id}/connections',
    summary: 'The connections a build made through its way out, and those it was refused',
    permission: 'build:read',
    params: z.object({ id: BuildId }),
    query: z.strictObject({
      after: z.coerce
        .number()
        .int()
        .min(0)
        .max(2 ** 31 - 1)
        .default(0)
        .meta({
          description: 'Only events behind this number.',
        }),
      limit: z.coerce
        .number()
        .int()
        .min(1)
        .max(CONNECTIONS_PAGE_ROWS_MAX)
        .default(CONNECTIONS_PAGE_ROWS_MAX)
        .meta({ description: 'Of JSON; NDJSON has them all.' }),
    }),
    replies: {
      200: {
        description: 'In the order in which they happened',
        content: { [JSON_TYPE]: BuildConnections, [NDJSON_TYPE]: NetworkConnection },
      },
    },
    errors: ['connections_incomplete'],
    async handle({ principal, params: { id }, query: { after, limit }, accepts, signal }) {
      if (accepts(JSON_TYPE, NDJSON_TYPE) !== NDJSON_TYPE) {
        const page = await builds.connections(principal, id, { after, limit })
        return { status: 200, json: page }
      }
      const read = (from: number) =>
        builds.connections(principal, id, { after: from, limit: CONNECTIONS_PAGE_ROWS_MAX })
      const first = await read(after)
      const chunks = toLines(first, read, signal)
      const stream = (sink: Sink) => writeStream({ ...sink, chunks, stallMs: STREAM_STALL_MS })
      return { status: 200, type: NDJSON_TYPE, stream }
    },
  })
}

async function* toLines(
  first: BuildConnections,
  read: (after: number) => Promise<BuildConnections>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let page = first
  for (;;) {
    const lines = page.network_connections.map((event) => `${JSON.stringify(event)}\n`)
    if (lines.length > 0) yield lines.join('')
    if (page.next_after === undefined || signal.aborted) return
    page = await read(page.next_after)
  }
}
