// One blob on its way in: written to a file without a name, which is gone with the process, and read by any
// number of clients while it grows, each at its own pace. Its last byte is given to nobody before the digest of
// the whole is right, so nobody gets a wrong one.
import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { asError } from '../errors.ts'
import { MIRROR_BLOB_BYTES_MAX } from '../limits.ts'

const READ_BYTES = 256 * 1024

export interface Download {
  /** As the registry it comes from says. */
  bytes: number | undefined
  /** Only between hold() and release(). */
  read(): AsyncGenerator<Buffer>
  /** Resolves with its size when it is whole and right. */
  whole: Promise<number>
  /** The file goes when all who held it have released it; whoever began it holds it from the start. */
  hold(): void
  release(): void
}

export async function startDownload(
  reply: IncomingMessage,
  { digest, file }: { digest: string; file: string },
): Promise<Download> {
  const handle = await openNameless(file).catch((error) => {
    reply.destroy()
    throw error
  })
  const changes = new EventEmitter().setMaxListeners(0)
  let holders = 1
  let written = 0
  let isWhole = false
  let failure: Error | undefined

  const hold = () => {
    holders += 1
  }
  const release = () => {
    holders -= 1
    if (holders === 0) void handle.close()
  }

  async function take(): Promise<number> {
    hold()
    try {
      const hash = createHash('sha256')
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        hash.update(chunk)
        await handle.appendFile(chunk)
        written += chunk.length
        if (written > MIRROR_BLOB_BYTES_MAX) {
          throw new Error(`a blob of more than ${MIRROR_BLOB_BYTES_MAX} bytes`)
        }
        changes.emit('change')
      }
      const found = `sha256:${hash.digest('hex')}`
      if (found !== digest) throw new Error(`the blob ${digest} came with the digest ${found}`)
      isWhole = true
      return written
    } catch (error) {
      failure = asError(error)
      throw failure
    } finally {
      reply.destroy()
      changes.emit('change')
      release()
    }
  }

  async function* read(): AsyncGenerator<Buffer> {
    for (let at = 0; ; ) {
      const end = isWhole ? written : written - 1
      if (at < end) {
        const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, end - at))
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
        at += bytesRead
        yield buffer.subarray(0, bytesRead)
      } else if (failure) throw failure
      else if (isWhole) return
      else await once(changes, 'change')
    }
  }

  const whole = take()
  whole.catch(() => {}) // every reader meets it as well
  const length = Number(reply.headers['content-length'])
  return { bytes: Number.isInteger(length) ? length : undefined, read, whole, hold, release }
}

async function openNameless(file: string): Promise<FileHandle> {
  const handle = await open(file, 'wx+', 0o600)
  await unlink(file)
  return handle
}
