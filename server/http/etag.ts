// ETags of JSON answers: a hash of what would be sent, so that a reader who has it is told 304 without it.
import { createHash } from 'node:crypto'
import { z } from 'zod'

/** An answer must not be kept without asking again, and by nobody but its reader. */
const CACHE_CONTROL = 'private, no-cache'

export const NOT_MODIFIED = { description: 'As the reader has it: If-None-Match names its ETag' }

/** Documents what fresh() is given. */
export const IF_NONE_MATCH = z.object({
  'If-None-Match': z.string().optional().meta({
    description: 'An ETag the reader has; 304 says that it is still right.',
  }),
})

/** Documents the header, beside others a reply has. */
export function etagHeaders(others: Record<string, z.ZodType> = {}) {
  return z.object({
    ETag: z.string().meta({ description: 'For If-None-Match.' }),
    ...others,
  })
}

/** 200 with the document, or 304 when the reader has it. */
export function fresh<T>(ifNoneMatch: string, json: T, others: Record<string, string> = {}) {
  const hash = createHash('sha256')
    .update(JSON.stringify([json, others]))
    .digest('base64url')
  const etag = `"${hash.slice(0, 27)}"`
  const headers = { ETag: etag, 'Cache-Control': CACHE_CONTROL, ...others }
  if (names(ifNoneMatch, etag)) return { status: 304 as const, empty: true as const, headers }
  return { status: 200 as const, json, headers }
}

// Weak comparison, as RFC 9110 has it for If-None-Match.
function names(ifNoneMatch: string, etag: string): boolean {
  const named = ifNoneMatch.split(',').map((part) => part.trim().replace(/^W\//, ''))
  return named.includes(etag) || named.includes('*')
}
