// Manifests in the registry, whole: read, written, deleted by name.
import { digestOf } from './digest.ts'
import { exchangeWith, MANIFEST_TYPES, manifestPath, unexpected } from './exchange.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface Manifest {
  type: string
  body: Buffer
}

export type StoredManifest = Manifest & { digest: string }

/** By tag or digest; undefined when it is not there. */
export async function readManifest(
  upstream: RegistryUpstream,
  repo: string,
  reference: string,
): Promise<StoredManifest | undefined> {
  const path = manifestPath(repo, reference)
  const headers = { accept: MANIFEST_TYPES }
  const { status, type, body } = await exchangeWith(upstream, { method: 'GET', path, headers })
  if (status === 404) return undefined
  if (status !== 200) throw unexpected('GET', path, status)
  return { digest: digestOf(body), type, body }
}

/** One that has to be there. */
export async function requireManifest(
  upstream: RegistryUpstream,
  repo: string,
  reference: string,
): Promise<StoredManifest> {
  const found = await readManifest(upstream, repo, reference)
  if (!found) throw unexpected('GET', manifestPath(repo, reference), 404)
  return found
}

export async function hasManifest(
  upstream: RegistryUpstream,
  repo: string,
  digest: string,
): Promise<boolean> {
  const path = manifestPath(repo, digest)
  const headers = { accept: MANIFEST_TYPES }
  const { status } = await exchangeWith(upstream, { method: 'HEAD', path, headers })
  if (status === 200) return true
  if (status === 404) return false
  throw unexpected('HEAD', path, status)
}

export async function putManifest(
  upstream: RegistryUpstream,
  repo: string,
  reference: string,
  { type, body }: Manifest,
): Promise<void> {
  const path = manifestPath(repo, reference)
  const headers = { 'content-type': type, 'content-length': body.length }
  const { status } = await exchangeWith(upstream, { method: 'PUT', path, headers, body })
  if (status !== 201) throw unexpected('PUT', path, status)
}

/** With all tags that point at it; one that is not there is fine. */
export async function deleteManifest(
  upstream: RegistryUpstream,
  repo: string,
  digest: string,
): Promise<void> {
  const path = manifestPath(repo, digest)
  const { status } = await exchangeWith(upstream, { method: 'DELETE', path, headers: {} })
  if (status !== 202 && status !== 404) throw unexpected('DELETE', path, status)
}
