// An image of one repository under a tag of another, with everything it is made of: its blobs are mounted (or
// carried over, where the registry can't), the manifests of an index come first, the tag last. Every part may
// be repeated. Throws a 4xx for what will never be possible, a 503 for what may be later. Digests come from a guest,
// so nothing gets into a path that is not exactly one.
import { z } from 'zod'
import { AppError, asError, invalidRequest } from '../errors.ts'
import { IMAGE_BLOBS_MAX, IMAGE_MANIFESTS_MAX } from '../limits.ts'
import { exchangeWith, manifestPath, unexpected } from './exchange.ts'
import { putManifest, requireManifest } from './manifests.ts'
import { isDigest, isRepoName, isTag } from './names.ts'
import { finishUpload, uploadPath } from './upload.ts'
import { openUpstream, type RegistryUpstream } from './upstream.ts'

const Descriptor = z.object({
  mediaType: z.string().default(''),
  digest: z.string().refine(isDigest, 'no digest'),
})

/** An image or an index of images, as far as it refers to others. */
const Manifest = z.object({
  config: Descriptor.optional(),
  layers: z.array(Descriptor).max(IMAGE_BLOBS_MAX).default([]),
  manifests: z.array(Descriptor).max(IMAGE_MANIFESTS_MAX).default([]),
})

export interface Publication {
  from: string
  digest: string
  to: string
  /** Without one it is there under its digest alone. */
  tag?: string
}

export async function publishImage(
  upstream: RegistryUpstream,
  { from, digest, to, tag }: Publication,
): Promise<void> {
  if (!isRepoName(from) || !isRepoName(to) || !isDigest(digest) || !isTag(tag ?? 'none')) {
    throw invalidRequest(`not an image to publish: ${from}@${digest} as ${to}:${tag ?? ''}`)
  }
  await copyManifest({ upstream, from, to, depth: 0 }, digest, tag ?? digest)
}

interface Copy {
  upstream: RegistryUpstream
  from: string
  to: string
  depth: number
}

async function copyManifest(copy: Copy, digest: string, reference: string): Promise<void> {
  const { upstream, from, to, depth } = copy
  const source = manifestPath(from, digest)
  const manifest = await requireManifest(upstream, from, digest)
  if (manifest.digest !== digest) {
    throw new AppError('registry_unavailable', `${source} has digest ${manifest.digest}`)
  }
  const { config, layers, manifests } = parseManifest(manifest.body, source)
  if (manifests.length > 0 && depth > 0) {
    throw invalidRequest(`${source} is an index in an index and can't be published`)
  }
  for (const child of manifests) {
    await copyManifest({ ...copy, depth: depth + 1 }, child.digest, child.digest)
  }
  const blobs = new Set(
    [...(config ? [config] : []), ...layers].filter(isKept).map(({ digest }) => digest),
  )
  for (const blob of blobs) await copyBlob(copy, blob)
  await putManifest(upstream, to, reference, manifest)
}

function parseManifest(body: Buffer, source: string): z.infer<typeof Manifest> {
  try {
    return Manifest.parse(JSON.parse(body.toString('utf8')))
  } catch (error) {
    throw invalidRequest(`${source} can't be published: ${asError(error).message}`)
  }
}

type Descriptor = z.infer<typeof Descriptor>

/** Layers that may not be given away are not in the registry. */
function isKept({ mediaType }: Descriptor): boolean {
  return !/nondistributable|foreign/.test(mediaType)
}

async function copyBlob({ upstream, from, to }: Copy, digest: string): Promise<void> {
  const path = `/v2/${to}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`
  const headers = { 'content-length': 0 }
  const mounted = await exchangeWith(upstream, { method: 'POST', path, headers })
  if (mounted.status === 201) return
  if (mounted.status !== 202) throw unexpected('POST', path, mounted.status)
  await carryBlob(upstream, `/v2/${from}/blobs/${digest}`, uploadPath(upstream, mounted), digest)
}

async function carryBlob(
  upstream: RegistryUpstream,
  source: string,
  upload: URL,
  digest: string,
): Promise<void> {
  // What moves nothing for too long is ended by the way itself.
  const { signal } = new AbortController()
  const blob = await openUpstream(upstream, { method: 'GET', path: source, headers: {}, signal })
  if (blob.statusCode !== 200) {
    blob.resume()
    throw unexpected('GET', source, blob.statusCode ?? 0)
  }
  const bytes = Number(blob.headers['content-length'])
  await finishUpload(upstream, upload, { digest, bytes, body: blob })
}
