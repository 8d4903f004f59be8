// A blob into the registry in one piece, and where an upload that was begun goes on.
import type { Readable } from 'node:stream'
import { type Exchange, exchangeWith, unexpected } from './exchange.ts'
import { openUpstream, pathPrefix, type RegistryUpstream } from './upstream.ts'

export interface UploadedBlob {
  digest: string
  bytes: number
  body: Readable | Buffer
}

/** Rejects, and nothing is there, when the bytes are not what the digest says. */
export async function uploadBlob(
  upstream: RegistryUpstream,
  repo: string,
  blob: UploadedBlob,
): Promise<void> {
  const path = `/v2/${repo}/blobs/uploads/`
  const begin: Exchange = { method: 'POST', path, headers: { 'content-length': 0 } }
  const begun = await exchangeWith(upstream, begin)
  if (begun.status !== 202) throw unexpected('POST', path, begun.status)
  await finishUpload(upstream, uploadPath(upstream, begun), blob)
}

/** The registry's own address, without what is before its paths. */
export function uploadPath(upstream: RegistryUpstream, begun: { location: string }): URL {
  const base = upstream.kind === 'url' ? upstream.url : 'http://registry'
  const location = new URL(begun.location, base)
  const prefix = pathPrefix(upstream)
  if (prefix && location.pathname.startsWith(prefix)) {
    location.pathname = location.pathname.slice(prefix.length)
  }
  return location
}

export async function finishUpload(
  upstream: RegistryUpstream,
  upload: URL,
  { digest, bytes, body }: UploadedBlob,
): Promise<void> {
  upload.searchParams.set('digest', digest)
  const reply = await openUpstream(upstream, {
    method: 'PUT',
    path: `${upload.pathname}${upload.search}`,
    headers: { 'content-type': 'application/octet-stream', 'content-length': bytes },
    body,
    // What moves nothing for too long is ended by the way itself.
    signal: new AbortController().signal,
  })
  reply.resume()
  if (reply.statusCode !== 201) throw unexpected('PUT', upload.pathname, reply.statusCode ?? 0)
}
