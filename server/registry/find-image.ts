// What a build pushed: an image, or an index of one image and the attestations about it. The image is what the
// build is known by: its digest depends on what is in it alone, the index's on when it was built as well.
import { z } from 'zod'
import { IMAGE_MANIFESTS_MAX } from '../limits.ts'
import { parseJson } from '../parse-json.ts'
import { hasManifest, readManifest } from './manifests.ts'
import { isDigest, isRepoName } from './names.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface FoundImage {
  digest: string
  /** Of the index, when there are attestations. */
  attestationsDigest?: string
}

const Index = z.object({
  manifests: z
    .array(
      z.object({
        digest: z.string().refine(isDigest),
        platform: z.object({ os: z.string() }).optional(),
        annotations: z.record(z.string(), z.string()).optional(),
      }),
    )
    .min(1)
    .max(IMAGE_MANIFESTS_MAX),
})

const REFERENCE_TYPE = 'vnd.docker.reference.type'

/** Undefined when there is none; also for what is no digest at all, a tag for instance. */
export async function findImage(
  upstream: RegistryUpstream,
  repo: string,
  digest: string,
): Promise<FoundImage | undefined> {
  if (!isRepoName(repo) || !isDigest(digest)) return undefined
  const found = await readManifest(upstream, repo, digest)
  if (!found) return undefined
  const image = attestedImage(found.body)
  if (image === undefined) return { digest }
  if (!(await hasManifest(upstream, repo, image))) return undefined
  return { digest: image, attestationsDigest: digest }
}

/** The one image of an index with attestations; undefined for anything else. */
function attestedImage(body: Buffer): string | undefined {
  const index = Index.safeParse(parseJson(body))
  if (!index.success) return undefined
  const { manifests } = index.data
  const images = manifests.filter((each) => each.annotations?.[REFERENCE_TYPE] === undefined)
  return images.length === 1 && manifests.length > 1 ? images[0]?.digest : undefined
}
