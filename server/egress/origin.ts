// What the agent says of a connection before its first byte: one line of JSON with the process behind it. A
// build step that comes here without the agent says nothing, and is served all the same.
import type { Socket } from 'node:net'
import { z } from 'zod'
import { EGRESS_ORIGIN_BYTES_MAX } from '../limits.ts'
import type { Origin } from './events.ts'

/** No HTTP request begins with it. */
const BEGIN = '{'.charCodeAt(0)
const NEWLINE = '\n'.charCodeAt(0)

const OriginLine = z.object({
  /** It ends up in lines of a log. */
  process: z
    .string()
    .max(1024)
    .transform((path) => path.replaceAll(/[\p{Cc}\p{Surrogate}]/gu, '\ufffd')),
  address: z.union([z.ipv4(), z.ipv6()]),
  port: z.int().min(0).max(65_535),
})

/** Undefined when none is told; rejects when the socket ends first or what it tells is no origin. */
export async function readOrigin(socket: Socket, idleMaxMs: number): Promise<Origin | undefined> {
  const late = setTimeout(() => socket.destroy(), idleMaxMs)
  let read = Buffer.alloc(0)
  try {
    for (;;) {
      const chunk = await nextChunk(socket)
      read = Buffer.concat([read, chunk])
      if (read[0] !== BEGIN) {
        socket.unshift(read)
        return undefined
      }
      const end = read.indexOf(NEWLINE)
      if (end === -1 && read.length < EGRESS_ORIGIN_BYTES_MAX) continue
      const origin = OriginLine.parse(JSON.parse(read.subarray(0, end).toString('utf8')))
      if (end + 1 < read.length) socket.unshift(read.subarray(end + 1))
      return origin
    }
  } finally {
    clearTimeout(late)
  }
}

function nextChunk(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      const chunk: Buffer | null = socket.read()
      if (!chunk && !socket.destroyed && !socket.readableEnded) return
      for (const event of ['readable', 'end', 'close']) socket.off(event, settle)
      if (chunk) resolve(chunk)
      else reject(new Error('the connection ended before it said anything'))
    }
    for (const event of ['readable', 'end', 'close']) socket.on(event, settle)
    settle()
  })
}
