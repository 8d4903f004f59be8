// Whether what a request brings may come in, by the room on the registry's disk and by the time it takes. Manifests
// always find room: they are small, and without them the blobs that are there already would be for nothing.
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { AppError } from '../errors.ts'
import { whileDiskRoom } from '../objects/disk-room.ts'
import type { RepoRoute } from './names.ts'

/** Throws AppError `disk_full`. */
export type RequireRoom = () => Promise<void>

/** `query`: as it will be sent. */
export function bringsData(req: IncomingMessage, route: RepoRoute, query: string): boolean {
  if (route.kind === 'uploads') return !new URLSearchParams(query).has('mount')
  if (route.kind !== 'upload') return false
  return (req.method === 'PATCH' || req.method === 'PUT') && req.headers['content-length'] !== '0'
}

export interface BodyBounds {
  /** From the first byte to the last, however steadily they come. */
  deadlineMs: number
  requireRoom: RequireRoom | undefined
}

export interface WatchedBody {
  body: Readable
  /** Why it ended early: a stream that breaks off does not tell the other end why. */
  error(): unknown
}

/** The body of a request, for as long as there is room and time; the connection can still be answered on. */
export function watchedBody(req: IncomingMessage, bounds: BodyBounds): WatchedBody {
  const { deadlineMs, requireRoom } = bounds
  let error: unknown
  const chunks = req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  async function* watched() {
    try {
      const inTime = whileTime(chunks, deadlineMs)
      yield* requireRoom ? whileDiskRoom(inTime, requireRoom) : inTime
    } catch (why) {
      error = why
      throw why
    }
  }
  return { body: Readable.from(watched(), { objectMode: false }), error: () => error }
}

/** One that sends nothing at all is somebody else's to end. */
async function* whileTime(source: AsyncIterable<Buffer>, deadlineMs: number) {
  const deadline = performance.now() + deadlineMs
  for await (const chunk of source) {
    if (performance.now() >= deadline) {
      throw new AppError(
        'request_timeout',
        `the data of the blob was not here after ${deadlineMs / 60_000} min; a larger one must come in pieces (PATCH), each within that time`,
      )
    }
    yield chunk
  }
}
