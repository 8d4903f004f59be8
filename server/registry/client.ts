// The server's own, trusted way to the registry: checks a digest, sets a tag, deletes a manifest. Names and
// digests may come from a guest, so nothing gets into a path that is not exactly a name and a digest.

import { deletePublished, deleteRepository, type PublishedImage } from './delete-image.ts'
import { deleteTags, type Emptied } from './delete-tags.ts'
import { type FoundImage, findImage } from './find-image.ts'
import { deleteManifest, hasManifest, putManifest, requireManifest } from './manifests.ts'
import { isDigest, isRepoName } from './names.ts'
import { type Publication, publishImage } from './publish.ts'
import { repositoriesBelow } from './repositories-below.ts'
import { tagsPage } from './tags.ts'
import type { RegistryUpstream } from './upstream.ts'

export type RegistryClient = ReturnType<typeof createRegistryClient>

export function createRegistryClient({ upstream }: { upstream: RegistryUpstream }) {
  return {
    /** False as well for what is no digest at all, a tag for instance. */
    async manifestExists(repo: string, digest: string): Promise<boolean> {
      if (!isRepoName(repo) || !isDigest(digest)) return false
      return hasManifest(upstream, repo, digest)
    },

    /** What was pushed under a digest: the image itself, and what is attested about it. */
    findImage: (repo: string, digest: string): Promise<FoundImage | undefined> =>
      findImage(upstream, repo, digest),

    /** Points a tag at a manifest that is there; repeating it changes nothing. */
    async tag(repo: string, digest: string, tag: string): Promise<void> {
      await putManifest(upstream, repo, tag, await requireManifest(upstream, repo, digest))
    },

    /** The image under a tag of another repository as well, with all it is made of. */
    publish: (publication: Publication): Promise<void> => publishImage(upstream, publication),

    /** Every tag of a repository, and what they point at. */
    deleteTags: (repo: string): Promise<Emptied> => deleteTags(upstream, repo),

    async hasTags(repo: string): Promise<boolean> {
      return (await tagsPage(upstream, repo)).length > 0
    },

    /** Names of the repositories below a folder, page by page. */
    repositories: (folder: string): AsyncGenerator<string[]> => repositoriesBelow(upstream, folder),

    /** Everything in a repository of one image. */
    deleteRepository: (repo: string, digests: readonly string[]): Promise<{ bytes: number }> =>
      deleteRepository(upstream, repo, digests),

    /** An image out of a repository that has others; returns the digests that went. */
    deletePublished: (image: PublishedImage): Promise<string[]> => deletePublished(upstream, image),

    /** With all tags that point at it; one that is not there is fine. */
    deleteManifest: (repo: string, digest: string): Promise<void> =>
      deleteManifest(upstream, repo, digest),
  }
}
