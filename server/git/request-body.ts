// The body of a git POST: unzipped under a cap, its head read whole, the rest left streaming.
import type { IncomingMessage } from 'node:http'
import { PassThrough, type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { PACK_BYTES_MAX } from '../limits.ts'
import { PktLineError } from './pkt-line.ts'

/** Enough for the pack and its command list. */
const BODY_BYTES_MAX = PACK_BYTES_MAX + 1024 * 1024

/** The body as git wrote it; destroyed when the client goes away. Never emits an unhandled error. */
export function decodedBody(req: IncomingMessage): Readable {
  const encoding = String(req.headers['content-encoding'] ?? 'identity').toLowerCase()
  const out = new PassThrough()
  out.on('error', () => {}) // whoever reads it meets the error; nobody reading is fine too
  const capped = capBytes(BODY_BYTES_MAX)
  const done =
    encoding === 'gzip' || encoding === 'x-gzip'
      ? pipeline(req, createGunzip(), capped, out)
      : pipeline(req, capped, out)
  done.catch(() => {}) // `out` is destroyed with the error
  return out
}

/**
 * Reads until `parse` has what it needs; what was read too much goes back to the stream.
 * Throws PktLineError when the body ends or breaks before.
 */
export async function readHead<T>(
  body: Readable,
  parse: (buffer: Buffer) => { value: T; length: number } | undefined,
): Promise<{ value: T; head: Buffer }> {
  let buffer = Buffer.alloc(0)
  const iterator = body.iterator({ destroyOnReturn: false })
  for await (const chunk of iterator as AsyncIterable<Buffer>) {
    buffer = Buffer.concat([buffer, chunk])
    const parsed = parse(buffer)
    if (!parsed) continue
    const head = buffer.subarray(0, parsed.length)
    const rest = buffer.subarray(parsed.length)
    if (rest.length > 0) body.unshift(rest)
    return { value: parsed.value, head }
  }
  throw new PktLineError('the request ended before its first packet')
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
