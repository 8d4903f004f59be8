// DELETE /apps/{name}/cache.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { TenantName } from '../auth/tenant.ts'
import { route } from '../http/route.ts'
import type { AppCache } from './app-cache.ts'

export interface CacheRoutesOptions {
  appCache: AppCache
}

export function cacheRoutes({ appCache }: CacheRoutesOptions) {
  return [
    route({
      id: 'dropAppCache',
      tag: 'apps',
      resource: 'app',
      method: 'delete',
      path: '/apps/{name}/cache',
      summary: "Forget what the app's builds have cached; the next one begins cold",
      permission: 'app:write',
      params: z.object({ name: AppName }),
      query: z.strictObject({
        tenant: TenantName.optional().meta({ description: "For admins: another tenant's apps." }),
      }),
      replies: { 204: { description: 'Forgotten, or there was none' } },
      errors: ['registry_unavailable'],
      async handle({ principal, params: { name }, query: { tenant } }) {
        await appCache.drop(principal, name, tenant)
        return { status: 204, empty: true }
      },
    }),
  ]
}
