// The bytes of a tar archive, whether it came gzip-compressed or plain.
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { asError } from '../errors.ts'
import { invalidSource } from './entry-check.ts'

const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])

/** Throws AppError `invalid_source` when the compressed data is damaged; errors of `upload` stay what they are. */
export async function* expand(upload: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const chunks = upload[Symbol.asyncIterator]()
  try {
    const start = await firstBytes(chunks)
    const whole = joined(start, chunks)
    if (start.subarray(0, GZIP_MAGIC.length).equals(GZIP_MAGIC)) yield* gunzip(whole)
    else yield* whole
  } finally {
    await chunks.return?.()
  }
}

async function firstBytes(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let start = Buffer.alloc(0)
  while (start.length < GZIP_MAGIC.length) {
    const { value, done } = await chunks.next()
    if (done) break
    start = Buffer.concat([start, value])
  }
  return start
}

async function* joined(start: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield start
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
}

async function* gunzip(compressed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const unzip = createGunzip()
  let isFed = false
  const source = Readable.from(compressed)
  source.once('end', () => {
    isFed = true
  })
  source.once('error', (error) => unzip.destroy(error))
  source.pipe(unzip)
  try {
    yield* unzip as AsyncIterable<Buffer>
  } catch (error) {
    throw isZlib(error) ? invalidSource(`the source is not sound gzip: ${error.message}`) : error
  } finally {
    source.destroy()
    unzip.destroy()
  }
  if (!isFed) throw invalidSource('the source has something behind its gzip data')
}

function isZlib(error: unknown): error is Error {
  return String((asError(error) as NodeJS.ErrnoException).code).startsWith('Z_')
}
