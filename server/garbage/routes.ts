// POST /admin/garbage: collect the registry's garbage now.
import { json, route } from '../http/route.ts'
import type { Garbage } from './service.ts'
import { toWire, WireCollected } from './wire.ts'

export function garbageRoutes({ garbage }: { garbage: Pick<Garbage, 'run'> }) {
  return [
    route({
      id: 'collectGarbage',
      tag: 'service',
      method: 'post',
      path: '/admin/garbage',
      summary: 'Free what no image in the registry needs any more',
      permission: 'registry:admin',
      replies: { 200: json('What was removed', WireCollected) },
      errors: ['conflict', 'registry_unavailable'],
      async handle() {
        return { status: 200, json: toWire(await garbage.run()) }
      },
    }),
  ]
}
