// /builds: parse, call the service, show.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { invalidRequest } from '../errors.ts'
import { BooleanText } from '../http/query.ts'
import { json, route } from '../http/route.ts'
import { lastEventId, SSE_HEADERS, SSE_TYPE, type SseOptions, sse } from '../http/sse.ts'
import { writeStream } from '../http/stream.ts'
import { PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, STREAM_STALL_MS } from '../limits.ts'
import { EventFrame, toFrames, toText } from './event-frames.ts'
import { PLAIN_LOG_EXAMPLE } from './examples.ts'
import { Build, BuildId, BuildStatus, TERMINAL } from './schema.ts'
import { type SubmitRouteOptions, submitRoute } from './submit-route.ts'

export interface BuildRoutesOptions extends SubmitRouteOptions {
  publicUrl: () => string
  sseOptions?: SseOptions
}

const TEXT_TYPE = 'text/plain; charset=utf-8'

const common = { tag: 'builds', resource: 'build' }
const params = z.object({ id: BuildId })

const ListBuilds = z.strictObject({
  app: AppName.optional(),
  status: BuildStatus.optional(),
  limit: z.coerce.number().int().min(1).max(PAGE_ROWS_MAX).default(PAGE_ROWS_DEFAULT),
  before: BuildId.optional().meta({ description: 'A build id: only builds older than it.' }),
})
type ListBuilds = z.infer<typeof ListBuilds>

export function buildRoutes(options: BuildRoutesOptions) {
  return [
    submitRoute(options),
    listRoute(options),
    getRoute(options),
    cancelRoute(options),
    eventsRoute(options, 'getBuildEvents', '/builds/{id}/events'),
    eventsRoute(options, 'getBuildLogs', '/builds/{id}/logs'),
  ]
}

function listRoute({ builds, publicUrl }: BuildRoutesOptions) {
  return route({
    ...common,
    id: 'listBuilds',
    method: 'get',
    path: '/builds',
    summary: "The tenant's builds, newest first",
    permission: 'build:read',
    query: ListBuilds,
    replies: {
      200: {
        ...json('One page', z.array(Build)),
        headers: z.object({
          Link: z.string().optional().meta({ description: 'The next page, as rel="next".' }),
        }),
      },
    },
    async handle({ principal, query }) {
      if (query.before !== undefined) {
        await builds.get(principal, query.before).catch(() => {
          throw invalidRequest(`query before=${JSON.stringify(query.before)}: is no build of yours`)
        })
      }
      const found = await builds.list(principal, { ...query, limit: query.limit + 1 })
      const page = found.slice(0, query.limit)
      const last = page.at(-1)
      const hasMore = found.length > page.length && last !== undefined
      return {
        status: 200,
        json: page,
        ...(hasMore ? { headers: { Link: nextLink(publicUrl(), query, last.id) } } : {}),
      }
    },
  })
}

function nextLink(publicUrl: string, { app, status, limit }: ListBuilds, before: string): string {
  const search = new URLSearchParams({
    ...(app ? { app } : {}),
    ...(status ? { status } : {}),
    limit: String(limit),
    before,
  })
  return `<${publicUrl}/builds?${search}>; rel="next"`
}

function getRoute({ builds }: BuildRoutesOptions) {
  return route({
    ...common,
    id: 'getBuild',
    method: 'get',
    path: '/builds/{id}',
    summary: 'One build',
    permission: 'build:read',
    params,
    replies: { 200: json('The build', Build) },
    async handle({ principal, params: { id } }) {
      return { status: 200, json: await builds.get(principal, id) }
    },
  })
}

function cancelRoute({ builds }: BuildRoutesOptions) {
  return route({
    ...common,
    id: 'cancelBuild',
    method: 'delete',
    path: '/builds/{id}',
    summary: 'Cancel a build; answers when its VM is gone',
    permission: 'build:delete',
    params,
    replies: { 204: { description: 'Cancelled' } },
    errors: ['conflict'],
    async handle({ principal, params: { id } }) {
      await builds.cancel(principal, id)
      return { status: 204, empty: true }
    },
  })
}

function eventsRoute({ builds, sseOptions }: BuildRoutesOptions, id: string, path: string) {
  return route({
    ...common,
    id,
    method: 'get',
    path,
    summary: 'Log, steps and status changes of a build, as they come or as far as they are',
    permission: 'build:read',
    params,
    query: z.strictObject({
      follow: BooleanText.default(false).meta({
        description: 'Stay until the build ends; its terminal status is the last event.',
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
      const afterSeq = lastEventId(header('last-event-id'))
      const read = (live: boolean) =>
        builds.events(principal, params.id, { follow: live, afterSeq, signal })
      if (!follow && accepts(SSE_TYPE, 'text/plain') === 'text/plain') {
        const chunks = toText(await read(false))
        const stallMs = sseOptions?.stallMs ?? STREAM_STALL_MS
        return {
          status: 200,
          type: TEXT_TYPE,
          stream: (sink) => writeStream({ ...sink, chunks, stallMs }),
        }
      }
      // 204 is what makes an EventSource stop reconnecting.
      if (follow && afterSeq > 0) {
        const { status } = await builds.get(principal, params.id)
        if (TERMINAL.has(status) && (await isEmpty(await read(false)))) {
          return { status: 204, empty: true }
        }
      }
      const frames = toFrames(await read(follow))
      return { status: 200, type: SSE_TYPE, headers: SSE_HEADERS, stream: sse(frames, sseOptions) }
    },
  })
}

async function isEmpty(events: AsyncIterable<unknown>): Promise<boolean> {
  for await (const _ of events) return false
  return true
}
