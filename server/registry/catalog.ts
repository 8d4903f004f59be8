// GET /v2/_catalog: of the repositories the registry has, those the caller may pull, page by page.
import type { ServerResponse } from 'node:http'
import { CATALOG_PAGE_MAX } from '../limits.ts'
import { catalogPages } from './catalog-pages.ts'
import type { Caller, Grants } from './grants.ts'
import { isRepoName } from './names.ts'
import { replyJson, replyOci } from './replies.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface CatalogOptions {
  upstream: RegistryUpstream
  grants: Pick<Grants, 'listable'>
}

export function createCatalog({ upstream, grants }: CatalogOptions) {
  return async (res: ServerResponse, caller: Caller, params: URLSearchParams): Promise<void> => {
    const n = params.has('n') ? Number(params.get('n')) : CATALOG_PAGE_MAX
    const last = params.get('last') ?? ''
    if (!Number.isInteger(n) || n < 1 || n > CATALOG_PAGE_MAX) {
      const message = `n is ${JSON.stringify(params.get('n'))}, not a number from 1 to ${CATALOG_PAGE_MAX}`
      return replyOci(res, 400, 'PAGINATION_NUMBER_INVALID', message)
    }
    if (last !== '' && !isRepoName(last)) {
      return replyOci(res, 400, 'NAME_INVALID', 'last is no name of a repository')
    }
    const found: string[] = []
    // One more than asked for tells whether there is a next page, without naming what is not the caller's.
    for await (const repos of catalogPages(upstream, last)) {
      found.push(...(await grants.listable(caller, repos)))
      if (found.length > n || res.destroyed) break
    }
    const repositories = found.slice(0, n)
    const end = repositories.at(-1)
    if (found.length > n && end !== undefined) {
      const query = new URLSearchParams({ last: end, n: String(n) })
      res.setHeader('link', `</v2/_catalog?${query}>; rel="next"`)
    }
    replyJson(res, 200, { repositories })
  }
}
