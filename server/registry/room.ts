// Whether what a request brings may come in, by the room on the registry's disk. Manifests always may: they are small,
// and without them the blobs that are there already would be for nothing.
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
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

export interface WatchedBody {
  body: Readable
  /** Why it ended early: a stream that breaks off does not tell the other end why. */
  error(): unknown
}

/** The body of a request, for as long as there is room; the connection can still be answered on. */
export function bodyWhileRoom(req: IncomingMessage, requireRoom: RequireRoom): WatchedBody {
  let error: unknown
  const chunks = req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  const look = () =>
    requireRoom().catch((why) => {
      error = why
      throw why
    })
  const body = Readable.from(whileDiskRoom(chunks, look), { objectMode: false })
  return { body, error: () => error }
}
