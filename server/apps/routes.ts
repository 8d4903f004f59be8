// /apps: parse, call the service, show.
import { z } from 'zod'
import { TenantName } from '../auth/tenant.ts'
import { json, route } from '../http/route.ts'
import {
  type App,
  AppName,
  CreateApp,
  effectiveSettings,
  fromWire,
  toWire,
  UpdateApp,
  WireApp,
} from './schema.ts'
import type { Apps } from './service.ts'

export interface AppRoutesOptions {
  apps: Apps
  publicUrl: () => string
}

const common = { tag: 'apps', resource: 'app' }
const params = z.object({ name: AppName })
const query = z.strictObject({
  tenant: TenantName.optional().meta({ description: "For admins: another tenant's apps." }),
})

export function appRoutes({ apps, publicUrl }: AppRoutesOptions) {
  const shown = (app: App) => toWireApp(app, publicUrl())
  return [
    route({
      ...common,
      id: 'createApp',
      method: 'post',
      path: '/apps',
      summary: 'Create an app and its repository',
      permission: 'app:write',
      query,
      body: CreateApp,
      replies: { 201: json('The new app', WireApp) },
      errors: ['already_exists', 'not_found'],
      async handle({ principal, body: { name, ...settings }, query: { tenant } }) {
        const app = await apps.create(principal, { name, tenant, settings: fromWire(settings) })
        return { status: 201, json: shown(app) }
      },
    }),
    route({
      ...common,
      id: 'listApps',
      method: 'get',
      path: '/apps',
      summary: "The tenant's apps, by name",
      permission: 'app:read',
      query,
      replies: { 200: json('The apps', z.array(WireApp)) },
      async handle({ principal, query: { tenant } }) {
        return { status: 200, json: (await apps.list(principal, tenant)).map(shown) }
      },
    }),
    route({
      ...common,
      id: 'getApp',
      method: 'get',
      path: '/apps/{name}',
      summary: 'One app',
      permission: 'app:read',
      params,
      query,
      replies: { 200: json('The app', WireApp) },
      async handle({ principal, params: { name }, query: { tenant } }) {
        return { status: 200, json: shown(await apps.get(principal, name, tenant)) }
      },
    }),
    route({
      ...common,
      id: 'updateApp',
      method: 'patch',
      path: '/apps/{name}',
      summary: 'Change settings; they hold from the next push on',
      permission: 'app:write',
      params,
      query,
      body: UpdateApp,
      replies: { 200: json('The app as it is now', WireApp) },
      async handle({ principal, params: { name }, query: { tenant }, body }) {
        return { status: 200, json: shown(await apps.update(principal, name, body, tenant)) }
      },
    }),
    route({
      ...common,
      id: 'deleteApp',
      method: 'delete',
      path: '/apps/{name}',
      summary: 'Remove an app with its repository and images; its builds stay in the history',
      permission: 'app:delete',
      params,
      query,
      replies: { 204: { description: 'Gone' } },
      errors: ['conflict'],
      async handle({ principal, params: { name }, query: { tenant } }) {
        await apps.remove(principal, name, tenant)
        return { status: 204, empty: true }
      },
    }),
  ]
}

function toWireApp(app: App, publicUrl: string): WireApp {
  const settings = effectiveSettings(app.settings)
  return {
    name: app.name,
    tenant: app.tenant,
    git_url: `${publicUrl}/${app.tenant}/${app.name}.git`,
    ...toWire(app.settings),
    deploy_branches: [...settings.deployBranches],
    created_at: app.createdAt.toISOString(),
    updated_at: app.updatedAt.toISOString(),
  }
}
