// Empties a repository: every manifest that has a tag is deleted, and with it all its tags. What is left are
// blobs for the garbage collection.
import { deleteManifest, readManifest, tagsPage } from './tags.ts'
import type { RegistryUpstream } from './upstream.ts'

export async function deleteTags(upstream: RegistryUpstream, repo: string): Promise<void> {
  for (;;) {
    // The first page: what it had is gone when it is asked for again.
    const tags = await tagsPage(upstream, repo)
    if (tags.length === 0) return
    for (const tag of tags) {
      const found = await readManifest(upstream, repo, tag)
      // Not there: another tag of the same manifest was deleted.
      if (found) await deleteManifest(upstream, repo, found.digest)
    }
  }
}
