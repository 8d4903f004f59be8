// The catalog of the registry, in the order of names, page by page.
import { z } from 'zod'
import { CATALOG_PAGE_MAX } from '../limits.ts'
import { exchangeWith, unexpected } from './exchange.ts'
import type { RegistryUpstream } from './upstream.ts'

const Page = z.object({ repositories: z.array(z.string()).nullish() })

/** Names behind `after`, which need not be one of them; empty: all. */
export async function* catalogPages(
  upstream: RegistryUpstream,
  after: string,
): AsyncGenerator<string[]> {
  for (let last = after, isEnd = false; !isEnd; ) {
    const query = new URLSearchParams({ n: String(CATALOG_PAGE_MAX), ...(last ? { last } : {}) })
    const path = `/v2/_catalog?${query}`
    const reply = await exchangeWith(upstream, { method: 'GET', path, headers: {} })
    if (reply.status !== 200) throw unexpected('GET', path, reply.status)
    const repositories = Page.parse(JSON.parse(reply.body.toString('utf8'))).repositories ?? []
    yield repositories
    const end = repositories.at(-1)
    isEnd = !reply.hasNext || end === undefined || end === last
    last = end ?? last
  }
}
