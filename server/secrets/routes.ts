// /apps/{name}/secrets: parse, call the service, show names and times.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { TenantName } from '../auth/tenant.ts'
import { SecretId } from '../builds/request-schema.ts'
import { json, route } from '../http/route.ts'
import { bytesOf, SecretValue, type StoredSecret, WireSecret } from './schema.ts'
import type { Secrets } from './service.ts'

const common = { tag: 'secrets', resource: 'secret' }
const app = z.object({ name: AppName })
const query = z.strictObject({
  tenant: TenantName.optional().meta({ description: "For admins: another tenant's app." }),
})

export function secretRoutes({ secrets }: { secrets: Secrets }) {
  return [
    route({
      ...common,
      id: 'putSecret',
      method: 'put',
      path: '/apps/{name}/secrets/{id}',
      summary: "Set or replace a secret of an app's builds",
      permission: 'secret:write',
      // Any text, so that a bad id is told what is wrong with it.
      params: app.extend({ id: z.string().min(1).max(512) }),
      query,
      body: SecretValue,
      replies: { 200: json('Replaced', WireSecret), 201: json('New', WireSecret) },
      errors: ['conflict'],
      async handle({ principal, params: { name, id }, query: { tenant }, body }) {
        const of = { app: name, tenant }
        const { secret, isNew } = await secrets.put(principal, of, id, bytesOf(body))
        if (isNew) return { status: 201, json: toWire(secret) }
        return { status: 200, json: toWire(secret) }
      },
    }),
    route({
      ...common,
      id: 'listSecrets',
      method: 'get',
      path: '/apps/{name}/secrets',
      summary: "Names of an app's secrets, never values",
      resource: 'app',
      permission: 'secret:read',
      params: app,
      query,
      replies: { 200: json('The secrets, by name', z.array(WireSecret)) },
      async handle({ principal, params: { name }, query: { tenant } }) {
        const found = await secrets.list(principal, { app: name, tenant })
        return { status: 200, json: found.map(toWire) }
      },
    }),
    route({
      ...common,
      id: 'deleteSecret',
      method: 'delete',
      path: '/apps/{name}/secrets/{id}',
      summary: 'Forget a secret',
      permission: 'secret:delete',
      params: app.extend({ id: SecretId }),
      query,
      replies: { 204: { description: 'Gone' } },
      async handle({ principal, params: { name, id }, query: { tenant } }) {
        await secrets.remove(principal, { app: name, tenant }, id)
        return { status: 204, empty: true }
      },
    }),
  ]
}

function toWire({ id, createdAt, updatedAt }: StoredSecret): WireSecret {
  return { id, created_at: createdAt.toISOString(), updated_at: updatedAt.toISOString() }
}
