// The uploads that a token has begun and not ended: each is a folder of the registry until it is, or until nobody has
// gone on with it for so long that the garbage collection removes it.
import { AppError } from '../errors.ts'
import { REGISTRY_UPLOAD_IDLE_MS } from '../limits.ts'
import { createPlaces } from '../places.ts'

export interface OpenUploadsOptions {
  perTokenMax: number
  idleMs?: number
  now?: () => number
}

export type OpenUploads = ReturnType<typeof createOpenUploads>

export function createOpenUploads(options: OpenUploadsOptions) {
  const { perTokenMax, idleMs = REGISTRY_UPLOAD_IDLE_MS, now = () => performance.now() } = options
  const places = createPlaces()
  /** Those first that nobody has gone on with for longest. */
  const open = new Map<string, { seenAt: number; giveBack: () => void }>()

  function forgetIdle(): void {
    for (const [upload, { seenAt, giveBack }] of open) {
      if (now() - seenAt < idleMs) return
      open.delete(upload)
      giveBack()
    }
  }

  return {
    /** Room for one more; returns what gives it back. Throws AppError `too_many_uploads`. */
    take(token: string): () => void {
      forgetIdle()
      if (places.taken(token) < perTokenMax) return places.take([token])
      throw new AppError(
        'too_many_uploads',
        `${perTokenMax} uploads were begun with this token and not ended; end or cancel (DELETE) some. One that nobody goes on with for ${idleMs / 3_600_000} h is forgotten`,
      )
    },

    began(upload: string, giveBack: () => void): void {
      open.set(upload, { seenAt: now(), giveBack })
    },

    wentOn(upload: string): void {
      const known = open.get(upload)
      if (!known) return
      open.delete(upload)
      open.set(upload, { ...known, seenAt: now() })
    },

    ended(upload: string): void {
      open.get(upload)?.giveBack()
      open.delete(upload)
    },
  }
}
