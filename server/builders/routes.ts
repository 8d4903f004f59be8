// /builders: parse, call the service, shape the reply.
import { z } from 'zod'
import { TenantName } from '../auth/tenant.ts'
import { tagFilter } from '../http/query.ts'
import { json, route } from '../http/route.ts'
import { BuilderId, CreateBuilder, toWire, WireBuilder } from './schema.ts'
import type { Builders } from './service.ts'

const common = { tag: 'builders', resource: 'builder' }
const params = z.object({ id: BuilderId })

const tenant = TenantName.optional().meta({
  description: "Another tenant's builders; needs `builder:admin`.",
})
const query = z.strictObject({ tenant })

const ListQuery = z.strictObject({
  tenant,
  tags: tagFilter('Builders that have all of them: `?tags[team]=web`.'),
})

export function builderRoutes({ builders }: { builders: Builders }) {
  return [
    route({
      ...common,
      id: 'createBuilder',
      method: 'post',
      path: '/builders',
      summary: 'Make a builder',
      permission: 'builder:write',
      body: CreateBuilder,
      replies: { 201: json('The new builder', WireBuilder) },
      errors: ['already_exists', 'conflict'],
      async handle({ principal, body }) {
        return { status: 201, json: toWire(await builders.create(principal, body)) }
      },
    }),
    route({
      ...common,
      id: 'listBuilders',
      method: 'get',
      path: '/builders',
      summary: "The tenant's builders, oldest first",
      permission: 'builder:read',
      query: ListQuery,
      replies: { 200: json('The builders', z.array(WireBuilder)) },
      async handle({ principal, query }) {
        return { status: 200, json: (await builders.list(principal, query)).map(toWire) }
      },
    }),
    route({
      ...common,
      id: 'getBuilder',
      method: 'get',
      path: '/builders/{id}',
      summary: 'One builder',
      permission: 'builder:read',
      params,
      query,
      replies: { 200: json('The builder', WireBuilder) },
      async handle({ principal, params: { id }, query: { tenant } }) {
        return { status: 200, json: toWire(await builders.get(principal, id, tenant)) }
      },
    }),
    route({
      ...common,
      id: 'deleteBuilder',
      method: 'delete',
      path: '/builders/{id}',
      summary: 'Remove a builder and its disk',
      permission: 'builder:delete',
      params,
      query,
      replies: { 204: { description: 'Gone' } },
      errors: ['conflict'],
      async handle({ principal, params: { id }, query: { tenant } }) {
        await builders.remove(principal, id, tenant)
        return { status: 204, empty: true }
      },
    }),
    route({
      ...common,
      id: 'pruneBuilder',
      method: 'post',
      path: '/builders/{id}/prune',
      summary: "Empty a builder's disk",
      permission: 'builder:write',
      params,
      query,
      replies: { 202: json('The builder, `pruning` and soon `ready`', WireBuilder) },
      errors: ['conflict'],
      async handle({ principal, params: { id }, query: { tenant } }) {
        return { status: 202, json: toWire(await builders.prune(principal, id, tenant)) }
      },
    }),
  ]
}
