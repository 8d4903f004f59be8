// Work for somebody who waits for the answer, and is for nothing once the connection is gone.
import type { ServerResponse } from 'node:http'

/** The signal aborts when the client goes away before the work has ended. */
export async function unlessGone<T>(
  res: ServerResponse,
  work: (gone: AbortSignal) => Promise<T>,
): Promise<T> {
  const gone = new AbortController()
  const onClose = () => gone.abort(new Error('the client went away'))
  res.once('close', onClose)
  if (res.destroyed) onClose()
  try {
    return await work(gone.signal)
  } finally {
    res.off('close', onClose)
  }
}
