// Takes an image out of the registry: its manifest, those it names (the images of an index, attestations), what
// was pushed about it, and its tags. Parts first and the image last, so that what a crash leaves is found again.
import { AppError } from '../errors.ts'
import { deleteTags } from './delete-tags.ts'
import { bytesOf, manifestParts, type Part } from './manifest-parts.ts'
import { deleteManifest, readManifest } from './manifests.ts'
import { isDigest, isRepoName } from './names.ts'
import { referrersTag } from './referrers.ts'
import { allTags } from './tags.ts'
import type { RegistryUpstream } from './upstream.ts'

interface ImageTree {
  /** Of all its manifests; the root is the last one. */
  digests: string[]
  /** Of what its manifests name, as they say; other images may share it. */
  bytes: number
}

/** An image with the manifests it is made of; the root alone when it is not there. */
async function imageTree(
  upstream: RegistryUpstream,
  repo: string,
  root: string,
): Promise<ImageTree> {
  requireNames(repo, root)
  const { blobs, manifests } = await partsOf(upstream, repo, root)
  const children = manifests.map(digestOf)
  let bytes = bytesOf(blobs)
  for (const child of children) bytes += bytesOf((await partsOf(upstream, repo, child)).blobs)
  return { digests: [...children, root], bytes }
}

/** Everything in a repository that holds one image; `digests` are those that may have no tag. */
export async function deleteRepository(
  upstream: RegistryUpstream,
  repo: string,
  digests: readonly string[],
): Promise<{ bytes: number }> {
  let bytes = 0
  const all = new Set<string>()
  for (const root of digests) {
    const tree = await imageTree(upstream, repo, root)
    bytes = Math.max(bytes, tree.bytes)
    for (const digest of tree.digests) all.add(digest)
  }
  await deleteTags(upstream, repo)
  for (const digest of all) await deleteManifest(upstream, repo, digest)
  return { bytes }
}

export interface PublishedImage {
  repo: string
  digest: string
  /** Tags that go with it; what another tag has stays. */
  ownTags: readonly string[]
  /** Digests of what was pushed about it. */
  referrers: readonly string[]
}

/** Out of a repository that has other images as well. Returns what was deleted: nothing when a tag keeps it. */
export async function deletePublished(
  upstream: RegistryUpstream,
  { repo, digest, ownTags, referrers }: PublishedImage,
): Promise<string[]> {
  requireNames(repo, digest)
  // It goes last: without it there is nothing to do.
  if (!(await readManifest(upstream, repo, digest))) return []
  const own = new Set(ownTags)
  const kept = new Set<string>()
  const about: string[] = []
  for (const tag of await allTags(upstream, repo)) {
    const found = await readManifest(upstream, repo, tag)
    if (!found) continue
    if (isAbout(tag, digest)) about.push(found.digest)
    else if (found.digest !== digest || !own.has(tag)) {
      const { manifests } = manifestParts(found.body)
      for (const each of [found.digest, ...manifests.map(digestOf)]) kept.add(each)
    }
  }
  if (kept.has(digest)) return []
  const { digests } = await imageTree(upstream, repo, digest)
  const going = [...about, ...referrers, ...digests].filter((each) => !kept.has(each))
  for (const each of new Set(going)) await deleteManifest(upstream, repo, each)
  return going
}

/** The referrers tag schema, and what older tools make of it: `sha256-….sig`. */
function isAbout(tag: string, digest: string): boolean {
  const base = referrersTag(digest)
  return tag === base || tag.startsWith(`${base}.`)
}

async function partsOf(upstream: RegistryUpstream, repo: string, digest: string) {
  const found = await readManifest(upstream, repo, digest)
  return manifestParts(found?.body ?? Buffer.from('{}'))
}

const digestOf = ({ digest }: Part) => digest

/** Digests come from a guest once: nothing else gets into a path. */
function requireNames(repo: string, digest: string): void {
  if (isRepoName(repo) && isDigest(digest)) return
  throw new AppError('invalid_request', `not an image of the registry: ${repo}@${digest}`)
}
