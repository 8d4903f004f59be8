// What a mirrored registry says when it does not give what was asked for, as our clients are told.
import type { IncomingMessage } from 'node:http'
import type { OciCode } from '../registry/replies.ts'

export interface Asked {
  host: string
  name: string
  what: 'manifest' | 'blob'
}

/** Its message may be shown. */
export class MirrorRefusal extends Error {
  override name = 'MirrorRefusal'
  readonly status: number
  readonly code: OciCode
  readonly retryAfter: string | undefined

  constructor(status: number, code: OciCode, message: string, retryAfter?: string) {
    super(message)
    this.status = status
    this.code = code
    this.retryAfter = retryAfter
  }

  /** What is stored may be given instead: it is not the image that is wrong. */
  get isPassing(): boolean {
    return this.status === 429 || this.status === 503
  }
}

export function refusalOf(reply: IncomingMessage, { host, name, what }: Asked): MirrorRefusal {
  const { statusCode: status = 0 } = reply
  if (status === 404) {
    const code = what === 'blob' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN'
    return new MirrorRefusal(404, code, `${host} has no such ${what} of ${name}`)
  }
  if (status === 401 || status === 403) {
    const message = `${host} answered ${status} for ${name}: it does not exist there, or is not for everybody`
    return new MirrorRefusal(403, 'DENIED', message)
  }
  if (status === 429) {
    const after = reply.headers['retry-after']
    const message = `${host} answered 429 for ${name}: its limit of pulls is reached; REGISTRY_MIRROR_AUTH_FILE with an account raises it`
    return new MirrorRefusal(429, 'TOOMANYREQUESTS', message, after)
  }
  return new MirrorRefusal(503, 'UNAVAILABLE', `${host} answered ${status} for ${name}`)
}

export function unreachable(host: string, error: Error): MirrorRefusal {
  return new MirrorRefusal(503, 'UNAVAILABLE', `${host} cannot be reached: ${error.message}`)
}
