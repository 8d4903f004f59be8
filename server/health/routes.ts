// GET /health and the signpost at /.
import { z } from 'zod'
import { json, publicRoute } from '../http/route.ts'
import type { Health } from './health.ts'

const Healthy = z
  .object({
    status: z.enum(['ok', 'degraded']),
    reasons: z
      .array(z.string())
      .optional()
      .meta({ description: 'Why it is degraded; requests are served all the same.' }),
  })
  .meta({
    id: 'Health',
    examples: [
      { status: 'ok' },
      {
        status: 'degraded',
        reasons: ['this server is low on disk (1.2 GiB free, 2.5 GiB needed); builds wait'],
      },
    ],
  })
const Unhealthy = z
  .object({
    status: z.literal('unavailable'),
    code: z.enum(['database_unavailable', 'version_skew']),
    message: z.string(),
  })
  .meta({
    id: 'Unhealthy',
    examples: [
      {
        status: 'unavailable',
        code: 'database_unavailable',
        message: 'does not answer: database',
      },
    ],
  })

const SIGNPOST = `hypeman build server

git push here builds an image. API: /docs (/openapi.json), health: /health
`

export function healthRoutes({ health }: { health: Health }) {
  return [
    publicRoute({
      id: 'getHealth',
      method: 'get',
      path: '/health',
      summary: 'Whether the server can work',
      tag: 'service',
      replies: {
        200: json('It serves; `degraded` says what is amiss', Healthy),
        503: json('Something it needs does not answer, or the server is to end', Unhealthy),
      },
      async handle() {
        const down = await health.down()
        if (down) return { status: 503, json: { status: 'unavailable' as const, ...down } }
        const reasons = await health.degraded()
        if (reasons.length === 0) return { status: 200, json: { status: 'ok' as const } }
        return { status: 200, json: { status: 'degraded' as const, reasons } }
      },
    }),
    publicRoute({
      id: 'getRoot',
      method: 'get',
      path: '/',
      summary: 'Where to look',
      tag: 'service',
      replies: {
        200: {
          description: 'A signpost',
          content: { 'text/plain': z.string().meta({ examples: [SIGNPOST] }) },
        },
      },
      handle: async () => ({ status: 200, text: SIGNPOST, type: 'text/plain' }),
    }),
  ]
}
