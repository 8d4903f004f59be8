// The body of a git POST: unzipped under a cap, read by exact sizes at its head, then streamed. A client that
// stops sending, or takes for ever, is cut off, because it holds a git process.
import type { IncomingMessage } from 'node:http'
import { PassThrough, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { AppError, asError } from '../errors.ts'
import { GIT_BODY_DEADLINE_MS, GIT_IDLE_MAX_MS, PACK_BYTES_MAX } from '../limits.ts'
import { type ByteSource, PktLineError } from './pkt-line.ts'

/** git itself refuses a pack over its limit, with a better text; this ends what is not even a pack. */
const BODY_BYTES_MAX = PACK_BYTES_MAX + 16 * 1024 * 1024
const EMPTY: Buffer = Buffer.alloc(0)

export interface GitBody extends ByteSource {
  /** What has not been taken. Throws PktLineError when the body breaks: client gone, not gzip, over the cap. */
  rest(): AsyncGenerator<Buffer>
}

export function readBody(
  req: IncomingMessage,
  idleMaxMs = GIT_IDLE_MAX_MS,
  deadlineMs = GIT_BODY_DEADLINE_MS,
): GitBody {
  const deadline = performance.now() + deadlineMs
  const chunks = decoded(req)[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let chunk = EMPTY

  async function more(): Promise<boolean> {
    const leftMs = Math.max(0, deadline - performance.now())
    const why = idleMaxMs < leftMs ? 'the client sends nothing' : 'the client took too long'
    const late = setTimeout(() => req.destroy(new Error(why)), Math.min(idleMaxMs, leftMs))
    try {
      const next = await chunks.next()
      chunk = next.done ? EMPTY : next.value
      return !next.done
    } catch (cause) {
      throw new PktLineError(`the body broke off: ${asError(cause).message}`, { cause })
    } finally {
      clearTimeout(late)
    }
  }

  return {
    async take(bytes) {
      const parts: Buffer[] = []
      for (let missing = bytes; missing > 0; ) {
        if (chunk.length === 0 && !(await more())) return undefined
        const part = chunk.subarray(0, missing)
        chunk = chunk.subarray(part.length)
        missing -= part.length
        parts.push(part)
      }
      return Buffer.concat(parts)
    },
    async *rest() {
      do {
        if (chunk.length > 0) yield chunk
      } while (await more())
    },
  }
}

/** Destroyed with the error when the client goes away; nobody has to listen for it. */
function decoded(req: IncomingMessage): PassThrough {
  const encoding = String(req.headers['content-encoding'] ?? 'identity').toLowerCase()
  const out = new PassThrough()
  out.on('error', () => {})
  const capped = capBytes(BODY_BYTES_MAX)
  let done: Promise<void>
  if (encoding === 'gzip' || encoding === 'x-gzip') {
    done = pipeline(req, createGunzip(), capped, out)
  } else if (encoding === 'identity') {
    done = pipeline(req, capped, out)
  } else {
    throw new AppError('invalid_request', `content encoding ${encoding} is not known; use gzip`)
  }
  done.catch(() => {}) // whoever reads `out` meets the error
  return out
}

function capBytes(max: number): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > max) done(new Error(`request body over ${max} bytes`))
      else done(null, chunk)
    },
  })
}
