// What a mirror has, in our own registry under `mirror/<host>/<name>`. Everything lies there as a blob, verified by
// its digest, and is kept by a small manifest of its own: an index can so be there without the images it names, and
// garbage collection keeps what is tagged. Deleting the tags of such a repository gives everything back.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { type Exchange, exchangeWith, MANIFEST_TYPES, manifestPath } from '../registry/exchange.ts'
import { putManifest, type StoredManifest } from '../registry/manifests.ts'
import { isDigest } from '../registry/names.ts'
import { type UploadedBlob, uploadBlob } from '../registry/upload.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'

const KEEPER_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const KEPT_TYPE = 'application/vnd.hypeman.mirror'
const BLOB_TYPE = 'application/octet-stream'

const Descriptor = z.object({
  mediaType: z.string(),
  digest: z.string().refine(isDigest, 'no digest'),
  size: z.number(),
})
type Descriptor = z.infer<typeof Descriptor>

const Keeper = z.object({ config: Descriptor })

type Kind = 'blob' | 'manifest' | 'tag'

export type MirrorStore = ReturnType<typeof createMirrorStore>

export function createMirrorStore(upstream: RegistryUpstream) {
  const exchange = (request: Exchange) => exchangeWith(upstream, request)

  async function keep(repo: string, keeper: { kind: Kind; name: string }, config: Descriptor) {
    const { kind, name } = keeper
    const annotations = { [`${KEPT_TYPE}.${kind}`]: name }
    const manifest = { schemaVersion: 2, mediaType: KEEPER_TYPE, config, layers: [], annotations }
    const body = Buffer.from(JSON.stringify(manifest))
    await putManifest(upstream, repo, keeperTag(kind, name), { type: KEEPER_TYPE, body })
  }

  async function kept(repo: string, kind: Kind, name: string): Promise<Descriptor | undefined> {
    const path = manifestPath(repo, keeperTag(kind, name))
    const headers = { accept: MANIFEST_TYPES }
    const { status, body } = await exchange({ method: 'GET', path, headers })
    // Whatever is wrong with it: what is fetched anew takes its place.
    if (status !== 200) return undefined
    return Keeper.parse(JSON.parse(body.toString('utf8'))).config
  }

  async function read(repo: string, found: Descriptor | undefined) {
    if (!found) return undefined
    const { digest, mediaType: type } = found
    const path = `/v2/${repo}/blobs/${digest}`
    const { status, body } = await exchange({ method: 'GET', path, headers: {} })
    if (status !== 200) return undefined
    return { digest, type, body } satisfies StoredManifest
  }

  return {
    async hasBlob(repo: string, digest: string): Promise<boolean> {
      const path = `/v2/${repo}/blobs/${digest}`
      return (await exchange({ method: 'HEAD', path, headers: {} })).status === 200
    },

    async putBlob(repo: string, blob: UploadedBlob): Promise<void> {
      const { digest, bytes: size } = blob
      await uploadBlob(upstream, repo, blob)
      await keep(repo, { kind: 'blob', name: digest }, { mediaType: BLOB_TYPE, digest, size })
    },

    manifest: async (repo: string, digest: string) =>
      read(repo, await kept(repo, 'manifest', digest)),

    tagged: async (repo: string, tag: string) => read(repo, await kept(repo, 'tag', tag)),

    /** With a tag, when it was asked for by one. */
    async putManifest(repo: string, manifest: StoredManifest, tag?: string): Promise<void> {
      const { digest, type: mediaType, body } = manifest
      const size = body.length
      await uploadBlob(upstream, repo, { digest, bytes: size, body })
      await keep(repo, { kind: 'manifest', name: digest }, { mediaType, digest, size })
      if (tag === undefined) return
      await keep(repo, { kind: 'tag', name: tag }, { mediaType, digest, size })
    },
  }
}

/** Of one length, and of a form that no tag of the mirrored registry could be taken for. */
function keeperTag(kind: Kind, name: string): string {
  return `${kind}-${createHash('sha256').update(name).digest('hex')}`
}
