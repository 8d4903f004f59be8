// The server's own, trusted way to the registry: checks a digest, sets a tag.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { AppError } from '../errors.ts'
import { MANIFEST_BYTES_MAX } from '../limits.ts'
import { type RegistryUpstream, requestUpstream, type UpstreamRequest } from './upstream.ts'

const REQUEST_DEADLINE_MS = 30_000
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')

export type RegistryClient = ReturnType<typeof createRegistryClient>

export function createRegistryClient({ upstream }: { upstream: RegistryUpstream }) {
  const manifestPath = (repo: string, reference: string) => `/v2/${repo}/manifests/${reference}`

  return {
    async manifestExists(repo: string, digest: string): Promise<boolean> {
      const headers = { accept: MANIFEST_TYPES }
      const path = manifestPath(repo, digest)
      const reply = await exchange(upstream, { method: 'HEAD', path, headers })
      if (reply.status === 200) return true
      if (reply.status === 404) return false
      throw unexpected('HEAD', path, reply.status)
    },

    /** Points a tag at a manifest that is there; repeating it changes nothing. */
    async tag(repo: string, digest: string, tag: string): Promise<void> {
      const from = manifestPath(repo, digest)
      const got = await exchange(upstream, {
        method: 'GET',
        path: from,
        headers: { accept: MANIFEST_TYPES },
      })
      if (got.status !== 200) throw unexpected('GET', from, got.status)
      const to = manifestPath(repo, tag)
      const headers = { 'content-type': got.type, 'content-length': got.body.length }
      const put = await exchange(upstream, { method: 'PUT', path: to, headers }, got.body)
      if (put.status !== 201) throw unexpected('PUT', to, put.status)
    },
  }
}

interface Reply {
  status: number
  type: string
  body: Buffer
}

async function exchange(
  upstream: RegistryUpstream,
  request: UpstreamRequest,
  body?: Buffer,
): Promise<Reply> {
  const sent = requestUpstream(upstream, request)
  sent.setTimeout(REQUEST_DEADLINE_MS, () => sent.destroy(new Error('the registry did not answer')))
  sent.end(body)
  try {
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > MANIFEST_BYTES_MAX) throw new Error(`a manifest over ${MANIFEST_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
    const type = response.headers['content-type'] ?? ''
    return { status: response.statusCode ?? 0, type, body: Buffer.concat(chunks) }
  } catch (cause) {
    const message = `the registry cannot be reached: ${(cause as Error).message}`
    throw new AppError('registry_unavailable', message, { cause })
  }
}

function unexpected(method: string, path: string, status: number): AppError {
  return new AppError(
    'registry_unavailable',
    `the registry answered ${status} to ${method} ${path}`,
  )
}
