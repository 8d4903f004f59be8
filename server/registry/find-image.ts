// What a build pushed: an image, or an index of one image and the attestations about it. The image is what the
// build is known by: its digest depends on what is in it alone, the index's on when it was built as well.
import { z } from 'zod'
import { IMAGE_MANIFESTS_MAX } from '../limits.ts'
import { exchangeWith, MANIFEST_TYPES, manifestPath, unexpected } from './exchange.ts'
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
  const path = manifestPath(repo, digest)
  const headers = { accept: MANIFEST_TYPES }
  const reply = await exchangeWith(upstream, { method: 'GET', path, headers })
  if (reply.status === 404) return undefined
  if (reply.status !== 200) throw unexpected('GET', path, reply.status)
  const image = attestedImage(reply.body)
  if (image === undefined) return { digest }
  const child = manifestPath(repo, image)
  const found = await exchangeWith(upstream, { method: 'HEAD', path: child, headers })
  if (found.status === 404) return undefined
  if (found.status !== 200) throw unexpected('HEAD', child, found.status)
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

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
