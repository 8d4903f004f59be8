// /admin/workers and /admin/drain: an operator's.
import { json, route } from '../http/route.ts'
import { DrainQuery, toWire, WorkerList, WorkerQuery } from './schema.ts'
import type { Workers } from './service.ts'

const PERMISSION = 'worker:admin'
const PATH = '/admin/drain'

export function workerRoutes({ workers }: { workers: Workers }) {
  const listed = { 200: json('The workers', WorkerList) }
  return [
    route({
      id: 'listWorkers',
      method: 'get',
      path: '/admin/workers',
      summary: 'Every worker: where it is, what it runs, when it was last heard of',
      tag: 'workers',
      permission: PERMISSION,
      replies: listed,
      async handle() {
        return { status: 200, json: (await workers.list()).map(toWire) }
      },
    }),
    route({
      id: 'getDrain',
      method: 'get',
      path: PATH,
      summary: 'The workers that take no more builds, and what they still run',
      tag: 'workers',
      permission: PERMISSION,
      query: WorkerQuery,
      replies: listed,
      async handle({ query }) {
        const draining = (await workers.list(query.worker)).map(toWire)
        return { status: 200, json: draining.filter(({ drain_until }) => drain_until) }
      },
    }),
    route({
      id: 'drain',
      method: 'post',
      path: PATH,
      summary: 'Take no more builds; what runs may end, or is handed back to the queue',
      tag: 'workers',
      resource: 'worker',
      permission: PERMISSION,
      query: DrainQuery,
      replies: { 202: json('The workers that drain', WorkerList) },
      errors: ['not_found'],
      async handle({ query, principal }) {
        const asked = { worker: query.worker, seconds: query.timeout_seconds }
        return { status: 202, json: (await workers.drain(principal, asked)).map(toWire) }
      },
    }),
    route({
      id: 'endDrain',
      method: 'delete',
      path: PATH,
      summary: 'Take builds again',
      tag: 'workers',
      resource: 'worker',
      permission: PERMISSION,
      query: WorkerQuery,
      replies: listed,
      errors: ['not_found'],
      async handle({ query, principal }) {
        return { status: 200, json: (await workers.resume(principal, query.worker)).map(toWire) }
      },
    }),
  ]
}
