// A registry with garbage in it, and what of it is still there.
import assert from 'node:assert/strict'
import { readdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Collected,
  type CollectOptions,
  collectGarbage,
} from '../../server/garbage/collect.ts'
import type { OwnRegistry } from '../../server/registry/own/own-registry.ts'
import { silent } from './database.ts'
import { digestOf, MANIFEST_TYPE, type Target } from './oci.ts'

export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
export const HOUR_MS = 60 * 60_000

/** Nobody is waited for. */
export const NO_GRACE = { pushMs: 0, untaggedMs: 0, uploadMs: 0 }

export function collected(
  registry: OwnRegistry,
  more: Partial<CollectOptions> = {},
): Promise<Collected> {
  return collectGarbage({
    registry,
    dropsUntagged: (name) => /^(?:builds|cache)\//.test(name),
    log: silent,
    signal: new AbortController().signal,
    ...more,
  })
}

export interface Descriptor {
  mediaType: string
  digest: string
  size: number
}

function descriptorOf(bytes: Buffer, mediaType = 'application/octet-stream'): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length }
}

export function imageOf(config: Buffer, layers: readonly Buffer[], more: object = {}): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
    layers: layers.map((layer) => descriptorOf(layer)),
    ...more,
  })
}

export function indexOf(manifests: readonly string[]): string {
  const entries = manifests.map((text) => descriptorOf(Buffer.from(text), MANIFEST_TYPE))
  return JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: entries })
}

/** Of the reply; the digest is known beforehand. */
export async function putManifest(
  { url, repo, headers }: Target,
  reference: string,
  text: string,
): Promise<Response> {
  const { mediaType } = JSON.parse(text) as { mediaType: string }
  return fetch(`${url}/v2/${repo}/manifests/${reference}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': mediaType },
    body: text,
  })
}

export async function pushManifest(target: Target, text: string, tag?: string): Promise<string> {
  const digest = digestOf(text)
  const reply = await putManifest(target, tag ?? digest, text)
  assert.equal(reply.status, 201, await reply.text())
  return digest
}

export async function deleteManifest({ url, repo, headers }: Target, digest: string) {
  const reply = await fetch(`${url}/v2/${repo}/manifests/${digest}`, { method: 'DELETE', headers })
  assert.equal(reply.status, 202, await reply.text())
}

export async function blobStatus({ url, repo, headers }: Target, digest: string): Promise<number> {
  const reply = await fetch(`${url}/v2/${repo}/blobs/${digest}`, { method: 'HEAD', headers })
  return reply.status
}

/** Pulls it with all it is made of, and checks every byte; throws for the first that is wrong. */
export async function pullAll(target: Target, reference: string): Promise<void> {
  const { url, repo, headers } = target
  const accept = `${MANIFEST_TYPE}, ${INDEX_TYPE}`
  const path = `${url}/v2/${repo}/manifests/${reference}`
  const reply = await fetch(path, { headers: { ...headers, accept } })
  const text = await reply.text()
  assert.equal(reply.status, 200, `${repo}@${reference}: ${text}`)
  const { config, layers = [], manifests = [] } = JSON.parse(text) as Record<string, Descriptor[]>
  for (const { digest } of manifests) await pullAll(target, digest)
  for (const { digest } of [config ?? [], layers].flat()) {
    const blob = await fetch(`${url}/v2/${repo}/blobs/${digest}`, { headers })
    const bytes = Buffer.from(await blob.arrayBuffer())
    assert.equal(blob.status, 200, `${repo}: blob ${digest}`)
    assert.equal(digestOf(bytes), digest)
  }
}

/** As if nobody had asked for anything for so long. */
export async function age(registry: OwnRegistry, ms: number): Promise<void> {
  const then = new Date(Date.now() - ms)
  const { repositories } = registry.storage
  for (const entry of await readdir(repositories, { recursive: true, withFileTypes: true })) {
    await utimes(join(entry.path, entry.name), then, then)
  }
}

/** Digests of all data there is. */
export async function blobsOnDisk({ storage }: OwnRegistry): Promise<Set<string>> {
  const entries = await readdir(storage.blobs, { recursive: true, withFileTypes: true })
  const data = entries.filter(({ name }) => name === 'data')
  return new Set(data.map(({ path }) => `sha256:${path.slice(path.lastIndexOf('/') + 1)}`))
}
