// Writes chunks to an answer only as fast as the reader takes them: at most the socket's buffer and one chunk
// are held. A reader that takes nothing for a while is dropped; whoever feeds us stops with it.
import type { ServerResponse } from 'node:http'

export interface StreamOptions {
  res: ServerResponse
  /** Must end when the signal aborts. */
  chunks: AsyncIterable<string | Uint8Array>
  signal: AbortSignal
  stallMs: number
  /** Written when nothing else was for so long. */
  idle?: { everyMs: number; chunk: () => string }
}

/** Resolves when the reader has everything, or is gone, or was dropped. Rejects when the source fails. */
export async function writeStream(options: StreamOptions): Promise<void> {
  const { res, chunks, signal, stallMs, idle } = options
  let stall: NodeJS.Timeout | undefined
  const expectProgress = (): void => {
    stall ??= setTimeout(() => res.destroy(), stallMs)
  }
  const moving = (): void => {
    clearTimeout(stall)
    stall = undefined
  }
  const write = (chunk: string | Uint8Array): void => {
    if (!res.destroyed && !res.write(chunk)) expectProgress()
  }
  const beat =
    idle &&
    setInterval(() => {
      if (!res.writableNeedDrain) write(idle.chunk())
    }, idle.everyMs)
  res.on('drain', moving)
  res.on('error', () => {}) // a reader that went away; `close` follows and ends us
  res.flushHeaders()
  try {
    for await (const chunk of chunks) {
      if (signal.aborted || res.destroyed) break
      write(chunk)
      beat?.refresh()
      if (res.writableNeedDrain) await oneOf(res, ['drain', 'close'], signal)
    }
    clearInterval(beat)
    // An end without the terminating chunk: the reader knows that this was not all.
    if (signal.aborted) res.destroy()
    if (res.destroyed) return
    expectProgress()
    res.end()
    await oneOf(res, ['finish', 'close'], signal)
  } finally {
    clearInterval(beat)
    moving()
    res.off('drain', moving)
  }
}

function oneOf(res: ServerResponse, events: readonly string[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of events) res.off(event, done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    for (const event of events) res.once(event, done)
    signal.addEventListener('abort', done, { once: true })
    if (res.destroyed || signal.aborted) done()
  })
}
