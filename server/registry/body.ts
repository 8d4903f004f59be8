// A small request body as a whole.
import type { IncomingMessage } from 'node:http'
import { REGISTRY_IDLE_MAX_MS } from '../limits.ts'

/** undefined when there is too much of it; the connection can still be answered on. */
export async function readBody(
  req: IncomingMessage,
  bytesMax: number,
): Promise<Buffer | undefined> {
  const late = setTimeout(() => req.destroy(), REGISTRY_IDLE_MAX_MS)
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > bytesMax) return undefined
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } finally {
    clearTimeout(late)
  }
}
