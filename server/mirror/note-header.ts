// What a mirror did for a build, told with the answer itself: so a worker on another machine hears of it as well.
import { z } from 'zod'
import { MIRROR_NOTE_CHARS_MAX } from '../limits.ts'
import type { MirrorEvent } from './mirror.ts'

export const NOTE_HEADER = 'hypeman-mirror'

const Note = z.object({
  host: z.string(),
  image: z.string(),
  buildId: z.string(),
  outcome: z.enum(['fetched', 'stored', 'stale', 'refused']),
  why: z.string().optional(),
})

/** undefined: it is of no build, or says more than a header should. */
export function noteOf(event: MirrorEvent): string | undefined {
  if (event.buildId === undefined) return undefined
  const text = Buffer.from(JSON.stringify(event)).toString('base64url')
  return text.length > MIRROR_NOTE_CHARS_MAX ? undefined : text
}

/** undefined: it is none. */
export function readNote(text: unknown): MirrorEvent | undefined {
  if (typeof text !== 'string') return undefined
  try {
    const { why, ...note } = Note.parse(JSON.parse(Buffer.from(text, 'base64url').toString()))
    return why === undefined ? note : { ...note, why }
  } catch {
    return undefined
  }
}
