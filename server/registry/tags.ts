// The tags of a repository.
import { z } from 'zod'
import { TAGS_PAGE } from '../limits.ts'
import { exchangeWith, unexpected } from './exchange.ts'
import type { RegistryUpstream } from './upstream.ts'

const Tags = z.object({ tags: z.array(z.string()).nullish() })

/** A page of them, those behind `last`; none when there is no such repository. */
export async function tagsPage(
  upstream: RegistryUpstream,
  repo: string,
  last?: string,
): Promise<string[]> {
  const query = new URLSearchParams({
    n: String(TAGS_PAGE),
    ...(last === undefined ? {} : { last }),
  })
  const path = `/v2/${repo}/tags/list?${query}`
  const reply = await exchangeWith(upstream, { method: 'GET', path, headers: {} })
  if (reply.status === 404) return []
  if (reply.status !== 200) throw unexpected('GET', path, reply.status)
  return Tags.parse(JSON.parse(reply.body.toString('utf8'))).tags ?? []
}

export async function allTags(upstream: RegistryUpstream, repo: string): Promise<string[]> {
  const all: string[] = []
  for (;;) {
    const page = await tagsPage(upstream, repo, all.at(-1))
    all.push(...page)
    if (page.length < TAGS_PAGE) return all
  }
}
