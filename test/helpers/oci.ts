// Small images and the plain HTTP of pushing them, for tests that care about single requests.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip'

export const digestOf = (bytes: Buffer | string) =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export interface Target {
  url: string
  repo: string
  headers: Record<string, string>
}

/** One upload in one request; returns the digest. */
export async function pushBlob(target: Target, bytes: Buffer): Promise<string> {
  const digest = digestOf(bytes)
  const { url, repo, headers } = target
  const begun = await fetch(`${url}/v2/${repo}/blobs/uploads/`, { method: 'POST', headers })
  assert.equal(begun.status, 202, await begun.text())
  const location = new URL(begun.headers.get('location') ?? '', url)
  location.searchParams.set('digest', digest)
  const put = await fetch(location, { method: 'PUT', headers, body: bytes })
  assert.equal(put.status, 201, await put.text())
  return digest
}

/** A whole image of one random layer; returns the manifest's digest and the layer's. */
export async function pushImage(
  target: Target,
  tag: string,
): Promise<{ digest: string; layer: string }> {
  const layer = randomBytes(1000)
  const config = Buffer.from('{}')
  await pushBlob(target, layer)
  await pushBlob(target, config)
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: LAYER_TYPE, digest: digestOf(layer), size: layer.length }],
  })
  const put = await fetch(`${target.url}/v2/${target.repo}/manifests/${tag}`, {
    method: 'PUT',
    headers: { ...target.headers, 'content-type': MANIFEST_TYPE },
    body: manifest,
  })
  assert.equal(put.status, 201, await put.text())
  return { digest: digestOf(manifest), layer: digestOf(layer) }
}

/** An OCI layout on disk that skopeo can copy from as `oci:<dir>:latest`. */
export async function writeLayout(dir: string): Promise<void> {
  const blobs = join(dir, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true })
  const put = async (bytes: Buffer) => {
    const digest = digestOf(bytes)
    await writeFile(join(blobs, digest.slice('sha256:'.length)), bytes)
    return { digest, size: bytes.length }
  }
  const archive = pack()
  archive.entry({ name: 'hello.txt' }, 'hello')
  archive.finalize()
  const tar = await buffer(archive)
  const layer = { mediaType: LAYER_TYPE, ...(await put(gzipSync(tar))) }
  const settings = { architecture: 'amd64', os: 'linux', config: {} }
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] }
  const configBytes = Buffer.from(JSON.stringify({ ...settings, rootfs }))
  const config = { mediaType: CONFIG_TYPE, ...(await put(configBytes)) }
  const manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers: [layer] }
  const entry = {
    mediaType: MANIFEST_TYPE,
    ...(await put(Buffer.from(JSON.stringify(manifest)))),
    annotations: { 'org.opencontainers.image.ref.name': 'latest' },
  }
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
}
