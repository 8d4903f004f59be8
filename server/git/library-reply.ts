// What node-git-server is given for a response: it never fails and is always drained, so that a client that
// leaves can neither crash the server (an 'error' nobody listens for) nor block git and its hook for ever.
import type { ServerResponse } from 'node:http'
import { type Duplex, PassThrough } from 'node:stream'
import { finished } from 'node:stream/promises'
import { GIT_STALL_MAX_MS } from '../limits.ts'

export interface LibraryReply {
  /** Give this to the library. */
  fake: ServerResponse
  /** Puts bytes before what git answers, unless it has begun to. */
  prefix(bytes: Buffer): void
  /** Ends the answer when git could not run. */
  fail(): void
  /** Resolves when the answer is sent or the client is gone; never rejects. */
  done: Promise<void>
}

export function createLibraryReply(
  res: ServerResponse,
  stallMaxMs = GIT_STALL_MAX_MS,
  through: Duplex = new PassThrough(),
): LibraryReply {
  const out = new PassThrough()
  let hasBegun = false
  const face = {
    setHeader(name: string, value: string): void {
      // The library forbids keep-alive, which git's next request would use.
      if (name.toLowerCase() !== 'connection' && !res.headersSent) res.setHeader(name, value)
    },
    writeHead(status: number): void {
      res.statusCode = status
    },
  }
  Object.assign(out, face)
  Object.defineProperty(out, 'statusCode', {
    get: () => res.statusCode,
    set: (status: number) => {
      res.statusCode = status
    },
  })
  res.statusCode = 200 // Koa starts with 404, and the library sets nothing
  res.on('error', () => {}) // 'close' follows
  const done = finished(res, { readable: false }).catch(() => {})
  const stopWatch = cutStalled(res, stallMaxMs)
  void done.then(() => {
    stopWatch()
    through.unpipe(res)
    through.resume()
  })
  out.once('data', () => {
    hasBegun = true
  })
  out.pipe(through).pipe(res)
  return {
    fake: out as unknown as ServerResponse,
    prefix(bytes: Buffer): void {
      if (!hasBegun) out.write(bytes)
    },
    fail(): void {
      if (!res.headersSent) res.statusCode = 500
      out.end()
    },
    done,
  }
}

/** Whoever takes nothing for so long holds a process and gets no more; a slow reader takes something. */
function cutStalled(res: ServerResponse, stallMaxMs: number): () => void {
  let lastTaken = performance.now()
  const taken = () => {
    lastTaken = performance.now()
  }
  res.on('drain', taken)
  const timer = setInterval(() => {
    if (!res.writableNeedDrain) taken()
    else if (performance.now() - lastTaken >= stallMaxMs) res.destroy()
  }, stallMaxMs / 4)
  return () => clearInterval(timer)
}
