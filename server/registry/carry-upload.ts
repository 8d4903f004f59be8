// Requests that bring the data of blobs, within what one token may hold of the registry: so many of them at once, so
// many uploads begun, and none for ever.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { AppError } from '../errors.ts'
import {
  REGISTRY_HOLD_RETRY_SECONDS,
  REGISTRY_UPLOAD_DEADLINE_MS,
  REGISTRY_UPLOADS_AT_ONCE_MAX,
  REGISTRY_UPLOADS_OPEN_MAX,
} from '../limits.ts'
import { createPlaces } from '../places.ts'
import { forward } from './forward.ts'
import { parseRoute, type RepoRoute, routePath } from './names.ts'
import { createOpenUploads } from './open-uploads.ts'
import { bringsData, type RequireRoom } from './room.ts'
import { uploadPath } from './upload.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface UploadLimits {
  deadlineMs: number
  atOncePerToken: number
  openPerToken: number
}

const DEFAULTS: UploadLimits = {
  deadlineMs: REGISTRY_UPLOAD_DEADLINE_MS,
  atOncePerToken: REGISTRY_UPLOADS_AT_ONCE_MAX,
  openPerToken: REGISTRY_UPLOADS_OPEN_MAX,
}

export interface UploadCarrierOptions {
  upstream: RegistryUpstream
  requireRoom: RequireRoom | undefined
  limits?: Partial<UploadLimits> | undefined
}

interface UploadRequest {
  route: Extract<RepoRoute, { kind: 'upload' | 'uploads' }>
  /** Of the query, as it will be sent. */
  search: string
  /** The id of the token. */
  token: string
}

const BRINGS = ['POST', 'PATCH', 'PUT']

export function createUploadCarrier({ upstream, requireRoom, limits }: UploadCarrierOptions) {
  const { deadlineMs, atOncePerToken, openPerToken } = { ...DEFAULTS, ...limits }
  const underWay = createPlaces()
  const open = createOpenUploads({ perTokenMax: openPerToken })

  function enter(token: string): () => void {
    if (underWay.taken(token) < atOncePerToken) return underWay.take([token])
    throw new AppError(
      'too_many_uploads',
      `${atOncePerToken} uploads with this token are under way; try again when one has ended`,
      { retryAfterSeconds: REGISTRY_HOLD_RETRY_SECONDS },
    )
  }

  /** The upload that a reply to POST speaks of; none after a mount, or a blob in one piece. */
  function begunBy({ statusCode, headers }: IncomingMessage): string | undefined {
    if (statusCode !== 202 || headers.location === undefined) return undefined
    const { pathname } = uploadPath(upstream, { location: headers.location })
    return parseRoute(pathname)?.kind === 'upload' ? pathname : undefined
  }

  return async (
    req: IncomingMessage,
    res: ServerResponse,
    { route, search, token }: UploadRequest,
  ): Promise<void> => {
    const path = routePath(route)
    // What only asks, or cancels, is never too much.
    const leave = BRINGS.includes(req.method ?? '') ? enter(token) : () => {}
    let giveBack = route.kind === 'uploads' ? open.take(token) : () => {}
    try {
      await forward(upstream, req, res, {
        path: path + (search ? `?${search}` : ''),
        keepsContentType: false,
        upload: {
          deadlineMs,
          requireRoom: bringsData(req, route, search) ? requireRoom : undefined,
        },
        async onReply(reply) {
          if (route.kind === 'upload') {
            if (isOver(req.method, reply.statusCode)) open.ended(path)
            else open.wentOn(path)
            return {}
          }
          const begun = begunBy(reply)
          if (begun === undefined) return {}
          open.began(begun, giveBack)
          giveBack = () => {}
          return {}
        },
      })
    } finally {
      giveBack()
      leave()
    }
  }
}

/** A blob that is not what its digest says is thrown away as well. */
function isOver(method: string | undefined, status: number | undefined): boolean {
  if (status === 404) return true
  if (method === 'PUT') return status === 201 || status === 400
  return method === 'DELETE' && status === 204
}
