// Server-sent events: one JSON document per frame, numbered so that a reader resumes with Last-Event-ID.
// Heartbeats carry no number, so they never move that mark.
import { invalidRequest } from '../errors.ts'
import { SSE_HEARTBEAT_MS, STREAM_STALL_MS } from '../limits.ts'
import type { Sink } from './route.ts'
import { writeStream } from './stream.ts'

export const SSE_TYPE = 'text/event-stream'

export const SSE_HEADERS = {
  'Cache-Control': 'no-cache',
  Connection: 'keep-alive',
  // nginx would hold the frames back otherwise
  'X-Accel-Buffering': 'no',
}

export interface SseFrame {
  /** Absent: the reader's mark stays where it is. */
  id?: number
  data: object
}

export interface SseOptions {
  heartbeatMs?: number
  stallMs?: number
}

/** A handler's `stream`: writes the frames until they end. A buffer is frames encoded before, for many readers. */
export function sse(frames: AsyncIterable<SseFrame | Buffer>, options: SseOptions = {}) {
  const { heartbeatMs = SSE_HEARTBEAT_MS, stallMs = STREAM_STALL_MS } = options
  return ({ res, signal }: Sink): Promise<void> =>
    writeStream({
      res,
      signal,
      stallMs,
      chunks: encode(frames),
      idle: { everyMs: heartbeatMs, chunk: heartbeat },
    })
}

/** The number of a `Last-Event-ID` header; 0 when there is none. */
export function lastEventId(header: string): number {
  if (header === '') return 0
  const id = Number(header)
  if (/^\d+$/.test(header) && Number.isSafeInteger(id)) return id
  throw invalidRequest(
    `header last-event-id=${JSON.stringify(header.slice(0, 80))}: must be the id of an event`,
  )
}

export function encodeFrame({ id, data }: SseFrame): string {
  return `${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}

async function* encode(frames: AsyncIterable<SseFrame | Buffer>): AsyncGenerator<string | Buffer> {
  for await (const frame of frames) yield Buffer.isBuffer(frame) ? frame : encodeFrame(frame)
}

function heartbeat(): string {
  return encodeFrame({ data: { type: 'heartbeat', timestamp: new Date().toISOString() } })
}
