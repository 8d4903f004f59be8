// The server's own, trusted way to the registry: checks a digest, sets a tag, deletes a manifest. Names and
// digests may come from a guest, so nothing gets into a path that is not exactly a name and a digest.
import { AppError, asError } from '../errors.ts'
import { MANIFEST_BYTES_MAX } from '../limits.ts'
import { isDigest, isRepoName } from './names.ts'
import { openUpstream, type RegistryUpstream } from './upstream.ts'

const EXCHANGE_DEADLINE_MS = 30_000
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')

export type RegistryClient = ReturnType<typeof createRegistryClient>

export function createRegistryClient({ upstream }: { upstream: RegistryUpstream }) {
  const exchange = (request: Exchange) => exchangeWith(upstream, request)

  return {
    /** False as well for what is no digest at all, a tag for instance. */
    async manifestExists(repo: string, digest: string): Promise<boolean> {
      if (!isRepoName(repo) || !isDigest(digest)) return false
      const path = manifestPath(repo, digest)
      const reply = await exchange({ method: 'HEAD', path, headers: { accept: MANIFEST_TYPES } })
      if (reply.status === 200) return true
      if (reply.status === 404) return false
      throw unexpected('HEAD', path, reply.status)
    },

    /** Points a tag at a manifest that is there; repeating it changes nothing. */
    async tag(repo: string, digest: string, tag: string): Promise<void> {
      const from = manifestPath(repo, digest)
      const got = await exchange({ method: 'GET', path: from, headers: { accept: MANIFEST_TYPES } })
      if (got.status !== 200) throw unexpected('GET', from, got.status)
      const to = manifestPath(repo, tag)
      const headers = { 'content-type': got.type, 'content-length': got.body.length }
      const put = await exchange({ method: 'PUT', path: to, headers, body: got.body })
      if (put.status !== 201) throw unexpected('PUT', to, put.status)
    },

    /** With all tags that point at it; one that is not there is fine. */
    async deleteManifest(repo: string, digest: string): Promise<void> {
      const path = manifestPath(repo, digest)
      const { status } = await exchange({ method: 'DELETE', path, headers: {} })
      if (status !== 202 && status !== 404) throw unexpected('DELETE', path, status)
    },
  }
}

function manifestPath(repo: string, reference: string): string {
  return `/v2/${repo}/manifests/${reference}`
}

interface Exchange {
  method: string
  path: string
  headers: Record<string, string | number>
  body?: Buffer
}

interface Reply {
  status: number
  type: string
  body: Buffer
}

async function exchangeWith(upstream: RegistryUpstream, request: Exchange): Promise<Reply> {
  try {
    const signal = AbortSignal.timeout(EXCHANGE_DEADLINE_MS)
    const reply = await openUpstream(upstream, { ...request, signal })
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > MANIFEST_BYTES_MAX) throw new Error(`a manifest over ${MANIFEST_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
    const type = reply.headers['content-type'] ?? ''
    return { status: reply.statusCode ?? 0, type, body: Buffer.concat(chunks) }
  } catch (cause) {
    const message = `the registry cannot be reached: ${asError(cause).message}`
    throw new AppError('registry_unavailable', message, { cause })
  }
}

function unexpected(method: string, path: string, status: number): AppError {
  const message = `the registry answered ${status} to ${method} ${path}`
  return new AppError('registry_unavailable', message)
}
