// Empties a repository: every manifest that has a tag is deleted, and with it all its tags. What is left are
// blobs for the garbage collection.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { TAGS_PAGE } from '../limits.ts'
import { exchangeWith, MANIFEST_TYPES, manifestPath, unexpected } from './exchange.ts'
import type { RegistryUpstream } from './upstream.ts'

const Tags = z.object({ tags: z.array(z.string()).nullish() })

export async function deleteTags(upstream: RegistryUpstream, repo: string): Promise<void> {
  for (;;) {
    const tags = await firstTags(upstream, repo)
    if (tags.length === 0) return
    for (const tag of tags) await deleteTag(upstream, repo, tag)
  }
}

/** The first page: what it had is gone when it is asked for again. */
async function firstTags(upstream: RegistryUpstream, repo: string): Promise<string[]> {
  const path = `/v2/${repo}/tags/list?n=${TAGS_PAGE}`
  const reply = await exchangeWith(upstream, { method: 'GET', path, headers: {} })
  if (reply.status === 404) return []
  if (reply.status !== 200) throw unexpected('GET', path, reply.status)
  return Tags.parse(JSON.parse(reply.body.toString('utf8'))).tags ?? []
}

async function deleteTag(upstream: RegistryUpstream, repo: string, tag: string): Promise<void> {
  const headers = { accept: MANIFEST_TYPES }
  const path = manifestPath(repo, tag)
  const got = await exchangeWith(upstream, { method: 'GET', path, headers })
  if (got.status === 404) return // another tag of the same manifest was deleted
  if (got.status !== 200) throw unexpected('GET', path, got.status)
  const digest = `sha256:${createHash('sha256').update(got.body).digest('hex')}`
  const target = manifestPath(repo, digest)
  const { status } = await exchangeWith(upstream, { method: 'DELETE', path: target, headers: {} })
  if (status !== 202 && status !== 404) throw unexpected('DELETE', target, status)
}
