// One short exchange of the server with the registry: a manifest or less, within a deadline.
import { AppError, asError } from '../errors.ts'
import { MANIFEST_BYTES_MAX } from '../limits.ts'
import { openUpstream, type RegistryUpstream } from './upstream.ts'

const EXCHANGE_DEADLINE_MS = 30_000
export const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')

export function manifestPath(repo: string, reference: string): string {
  return `/v2/${repo}/manifests/${reference}`
}

export interface Exchange {
  method: string
  path: string
  headers: Record<string, string | number>
  body?: Buffer
}

export interface Reply {
  status: number
  type: string
  location: string
  /** Of a list: there is more. */
  hasNext: boolean
  body: Buffer
}

export async function exchangeWith(upstream: RegistryUpstream, request: Exchange): Promise<Reply> {
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
    const { 'content-type': type = '', location = '', link = '' } = reply.headers
    const hasNext = /rel="?next/.test(String(link))
    return { status: reply.statusCode ?? 0, type, location, hasNext, body: Buffer.concat(chunks) }
  } catch (cause) {
    const message = `the registry cannot be reached: ${asError(cause).message}`
    throw new AppError('registry_unavailable', message, { cause })
  }
}

/** It answered, but not what was asked for. */
export class UnexpectedReply extends AppError {
  override name = 'UnexpectedReply'
  /** It says no, and will again: not that it is too busy, nor that our own credentials are wrong. */
  readonly isRefusal: boolean

  constructor(message: string, status: number) {
    super('registry_unavailable', message)
    this.isRefusal = status >= 400 && status < 500 && !PASSING.has(status)
  }
}

const PASSING = new Set([401, 408, 425, 429])

export function unexpected(method: string, path: string, status: number): UnexpectedReply {
  return new UnexpectedReply(`the registry answered ${status} to ${method} ${path}`, status)
}
