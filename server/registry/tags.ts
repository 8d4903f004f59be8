// The tags of a repository, and the digest of what the registry answers.
import { z } from 'zod'
import { TAGS_PAGE } from '../limits.ts'
import { digestOf } from './digest.ts'
import { exchangeWith, MANIFEST_TYPES, manifestPath, unexpected } from './exchange.ts'
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

export interface StoredManifest {
  digest: string
  body: Buffer
}

/** By tag or digest; undefined when it is not there. */
export async function readManifest(
  upstream: RegistryUpstream,
  repo: string,
  reference: string,
): Promise<StoredManifest | undefined> {
  const path = manifestPath(repo, reference)
  const headers = { accept: MANIFEST_TYPES }
  const { status, body } = await exchangeWith(upstream, { method: 'GET', path, headers })
  if (status === 404) return undefined
  if (status !== 200) throw unexpected('GET', path, status)
  return { digest: digestOf(body), body }
}

/** With all tags that point at it; one that is not there is fine. */
export async function deleteManifest(
  upstream: RegistryUpstream,
  repo: string,
  digest: string,
): Promise<void> {
  const path = manifestPath(repo, digest)
  const { status } = await exchangeWith(upstream, { method: 'DELETE', path, headers: {} })
  if (status !== 202 && status !== 404) throw unexpected('DELETE', path, status)
}
