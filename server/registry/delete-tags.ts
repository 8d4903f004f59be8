// Empties a repository: every manifest that has a tag is deleted, and with it all its tags. What is left are
// blobs for the garbage collection.
import { bytesOf, manifestParts } from './manifest-parts.ts'
import { deleteManifest, readManifest } from './manifests.ts'
import { tagsPage } from './tags.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface Emptied {
  /** Manifests. */
  count: number
  /** Of what they name, as they say; others may share it. */
  bytes: number
}

export async function deleteTags(upstream: RegistryUpstream, repo: string): Promise<Emptied> {
  const emptied = { count: 0, bytes: 0 }
  for (;;) {
    // The first page: what it had is gone when it is asked for again.
    const tags = await tagsPage(upstream, repo)
    const before = emptied.count
    for (const tag of tags) {
      const found = await readManifest(upstream, repo, tag)
      if (!found) continue // another tag of the same manifest was deleted, or its data is lost
      const { blobs, manifests } = manifestParts(found.body)
      await deleteManifest(upstream, repo, found.digest)
      emptied.count += 1
      emptied.bytes += bytesOf([...blobs, ...manifests])
    }
    if (emptied.count === before) return emptied
  }
}
