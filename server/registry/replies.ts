// The registry's error replies, in the OCI shape, and its challenge.
import type { ServerResponse } from 'node:http'

export type OciCode =
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_UNKNOWN'
  | 'TOOMANYREQUESTS'
  | 'NAME_INVALID'
  | 'PAGINATION_NUMBER_INVALID'
  | 'SIZE_INVALID'
  | 'UNSUPPORTED'
  | 'UNAVAILABLE'

export function replyOci(
  res: ServerResponse,
  status: number,
  code: OciCode,
  message: string,
): void {
  if (res.headersSent) {
    res.destroy()
    return
  }
  replyJson(res, status, { errors: [{ code, message }] })
}

export function replyJson(res: ServerResponse, status: number, value: unknown): void {
  replyTyped(res, status, 'application/json', value)
}

export interface OciIndex {
  schemaVersion: 2
  mediaType: string
  manifests: readonly unknown[]
}

export function replyOciIndex(res: ServerResponse, index: OciIndex): void {
  replyTyped(res, 200, index.mediaType, index)
}

function replyTyped(res: ServerResponse, status: number, type: string, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value))
  res.writeHead(status, {
    'content-type': type,
    'content-length': body.length,
    'docker-distribution-api-version': 'registry/2.0',
  })
  res.end(res.req?.method === 'HEAD' ? undefined : body)
}

export interface Challenge {
  /** Where the client gets a token, without path. */
  base: string
  scope?: string
  error?: 'invalid_token' | 'insufficient_scope'
}

/** 401: clients learn from the header where and for what to ask for a token. */
export function replyUnauthorized(
  res: ServerResponse,
  challenge: Challenge,
  message: string,
): void {
  const parts = [`realm="${challenge.base}/v2/token"`, 'service="hypeman"']
  if (challenge.scope) parts.push(`scope="${challenge.scope}"`)
  if (challenge.error) parts.push(`error="${challenge.error}"`)
  res.setHeader('www-authenticate', `Bearer ${parts.join(',')}`)
  replyOci(res, 401, 'UNAUTHORIZED', message)
}
