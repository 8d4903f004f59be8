// /builds: parse, call the service, show.
import { z } from 'zod'
import { etagHeaders, fresh, IF_NONE_MATCH, NOT_MODIFIED } from '../http/etag.ts'
import { durationText } from '../http/query.ts'
import { json, route } from '../http/route.ts'
import type { SseOptions } from '../http/sse.ts'
import { LONG_POLL_MS_MAX } from '../limits.ts'
import { configRoute } from './config-route.ts'
import { connectionsRoute } from './connections-route.ts'
import { eventsRoute } from './events-route.ts'
import { listRoute } from './list-route.ts'
import { Build, BuildId, BuildStatus, BuildStep } from './schema.ts'
import { type SubmitRouteOptions, submitRoute } from './submit-route.ts'

export interface BuildRoutesOptions extends SubmitRouteOptions {
  publicUrl: () => string
  sseOptions?: SseOptions
}

const common = { tag: 'builds', resource: 'build' }
const params = z.object({ id: BuildId })

export function buildRoutes(options: BuildRoutesOptions) {
  return [
    submitRoute(options),
    listRoute(options),
    getRoute(options),
    stepsRoute(options),
    configRoute(options.builds),
    connectionsRoute(options.builds),
    cancelRoute(options),
    eventsRoute(options, 'getBuildEvents', '/builds/{id}/events'),
    eventsRoute(options, 'getBuildLogs', '/builds/{id}/logs'),
  ]
}

function getRoute({ builds }: BuildRoutesOptions) {
  return route({
    ...common,
    id: 'getBuild',
    method: 'get',
    path: '/builds/{id}',
    summary: 'One build, now or when its status changes',
    permission: 'build:read',
    params,
    query: z.strictObject({
      wait: durationText(LONG_POLL_MS_MAX).optional().meta({
        description:
          'Answer when the status changes, or after so long. A finished build is answered at once.',
      }),
      status: BuildStatus.optional().meta({
        description: 'With `wait`: the status you know. Another one is answered at once.',
      }),
    }),
    headers: IF_NONE_MATCH,
    replies: { 200: { ...json('The build', Build), headers: etagHeaders() }, 304: NOT_MODIFIED },
    async handle({ principal, params: { id }, query: { wait, status }, header, signal }) {
      const build =
        wait === undefined
          ? await builds.get(principal, id)
          : await builds.getChanged(principal, id, { ms: wait, status, signal })
      return fresh(header('if-none-match'), build)
    },
  })
}

function stepsRoute({ builds }: BuildRoutesOptions) {
  return route({
    ...common,
    id: 'getBuildSteps',
    method: 'get',
    path: '/builds/{id}/steps',
    summary: "The steps of a build's latest attempt, each with its latest state",
    permission: 'build:read',
    params,
    headers: IF_NONE_MATCH,
    replies: {
      200: { ...json('In order', z.array(BuildStep)), headers: etagHeaders() },
      304: NOT_MODIFIED,
    },
    async handle({ principal, params: { id }, header }) {
      return fresh(header('if-none-match'), await builds.steps(principal, id))
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
    replies: { 204: { description: 'Cancelled, by this request or an earlier one' } },
    errors: ['conflict', 'cancel_pending'],
    async handle({ principal, params: { id }, signal }) {
      await builds.cancel(principal, id, signal)
      return { status: 204, empty: true }
    },
  })
}
