// The repositories of the registry below a folder, as its catalog has them. Empty ones are among them.
import { z } from 'zod'
import { CATALOG_PAGE_MAX } from '../limits.ts'
import { exchangeWith, unexpected } from './exchange.ts'
import type { RegistryUpstream } from './upstream.ts'

const Page = z.object({ repositories: z.array(z.string()).nullish() })

export async function* repositoriesBelow(
  upstream: RegistryUpstream,
  folder: string,
): AsyncGenerator<string[]> {
  // The catalog is in the order of names: what comes before the folder is not asked for.
  for (let last = folder; ; ) {
    const query = new URLSearchParams({ n: String(CATALOG_PAGE_MAX), last })
    const path = `/v2/_catalog?${query}`
    const reply = await exchangeWith(upstream, { method: 'GET', path, headers: {} })
    if (reply.status !== 200) throw unexpected('GET', path, reply.status)
    const page = Page.parse(JSON.parse(reply.body.toString('utf8'))).repositories ?? []
    const below = page.filter((name) => name.startsWith(`${folder}/`))
    if (below.length > 0) yield below
    const end = page.at(-1)
    if (end === undefined || !reply.hasNext || end > `${folder}/\uffff`) return
    last = end
  }
}
