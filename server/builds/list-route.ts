// GET /builds: filters, keyset pages, the next page as a link.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { etagHeaders, fresh, IF_NONE_MATCH, NOT_MODIFIED } from '../http/etag.ts'
import { InstantText, tagFilter } from '../http/query.ts'
import { json, route } from '../http/route.ts'
import { PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from '../limits.ts'
import type { BuildRoutesOptions } from './routes.ts'
import { Build, BuildId, BuildStatus } from './schema.ts'

const ListBuilds = z.strictObject({
  app: AppName.optional(),
  status: BuildStatus.optional(),
  tenant: z.string().max(64).optional().meta({
    description: "Another tenant's builds; needs `build:admin`.",
  }),
  tags: tagFilter('Builds that have all of them: `?tags[team]=web&tags[env]=prod`.'),
  created_after: InstantText.optional().meta({ description: 'Created then or later.' }),
  created_before: InstantText.optional().meta({ description: 'Created earlier than then.' }),
  limit: z.coerce.number().int().min(1).max(PAGE_ROWS_MAX).default(PAGE_ROWS_DEFAULT),
  before: BuildId.optional().meta({ description: 'A build id: only builds older than it.' }),
})
type ListBuilds = z.infer<typeof ListBuilds>

export function listRoute({ builds, publicUrl }: BuildRoutesOptions) {
  return route({
    tag: 'builds',
    id: 'listBuilds',
    method: 'get',
    path: '/builds',
    summary: "The tenant's builds, newest first",
    permission: 'build:read',
    query: ListBuilds,
    headers: IF_NONE_MATCH,
    replies: {
      200: {
        ...json('One page', z.array(Build)),
        headers: etagHeaders({
          Link: z.string().optional().meta({ description: 'The next page, as rel="next".' }),
        }),
      },
      304: NOT_MODIFIED,
    },
    async handle({ principal, query, header }) {
      if (query.before !== undefined) {
        await builds.get(principal, query.before).catch((error) => {
          if (!(error instanceof AppError && error.code === 'not_found')) throw error
          throw invalidRequest(`query before=${JSON.stringify(query.before)}: is no build of yours`)
        })
      }
      const { created_after: createdAfter, created_before: createdBefore, ...same } = query
      const filter = { ...same, createdAfter, createdBefore, limit: query.limit + 1 }
      const found = await builds.list(principal, filter)
      const page = found.slice(0, query.limit)
      const last = page.at(-1)
      const hasMore = found.length > page.length && last !== undefined
      const link = hasMore ? { Link: nextLink(publicUrl(), query, last.id) } : {}
      return fresh(header('if-none-match'), page, link)
    },
  })
}

function nextLink(publicUrl: string, query: ListBuilds, before: string): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...query, before })) {
    if (value === undefined) continue
    if (value instanceof Date) search.set(name, value.toISOString())
    else if (typeof value !== 'object') search.set(name, String(value))
    else for (const [key, tag] of Object.entries(value)) search.set(`${name}[${key}]`, tag)
  }
  return `<${publicUrl}/builds?${search}>; rel="next"`
}
