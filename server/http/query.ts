// Words of query strings that several routes share.
import { z } from 'zod'
import { TagKey } from '../builds/request-schema.ts'
import { BUILD_TAGS_MAX } from '../limits.ts'

/** `true`, `1`, `false` or `0`. */
export const BooleanText = z
  .enum(['true', '1', 'false', '0'], { error: 'must be true or false' })
  .transform((text) => text === 'true' || text === '1')
  .meta({ override: { type: 'boolean', enum: [true, false] } })

/** `30s`, `500ms`, `1m` → milliseconds, up to a maximum. */
export function durationText(maxMs: number) {
  const message = `must be like 500ms, 30s or 1m, at most ${maxMs / 1000}s`
  return z
    .string()
    .regex(/^\d{1,9}(ms|s|m)$/, { error: message, abort: true })
    .transform((text) => Number.parseInt(text, 10) * UNIT_MS[text.replace(/^\d+/, '') as Unit])
    .refine((ms) => ms <= maxMs, { error: message })
    .meta({ override: { type: 'string', pattern: '^\\d{1,9}(ms|s|m)$', examples: ['30s'] } })
}

const UNIT_MS = { ms: 1, s: 1000, m: 60_000 }
type Unit = keyof typeof UNIT_MS

/** An instant in RFC 3339, with its offset. */
export const InstantText = z.iso
  .datetime({ offset: true, error: 'must be an instant like 2026-01-31T12:00:00Z' })
  .transform((text) => new Date(text))
  .meta({ override: { type: 'string', format: 'date-time' } })

/** `tags[team]=web&tags[env]=prod`: whatever has all of them. */
export function tagFilter(description: string) {
  return z
    .record(TagKey, z.string().max(256))
    .refine((tags) => Object.keys(tags).length <= BUILD_TAGS_MAX, {
      error: `at most ${BUILD_TAGS_MAX} tags`,
    })
    .optional()
    .meta({ description, param: { style: 'deepObject', explode: true } })
}

/** `tags[team]=backend` → `tags: { team: 'backend' }`, as OpenAPI's deepObject has it. */
export function nested(query: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(query)) {
    const [, name = '', inner = ''] = /^([^[\]]+)\[(.*)\]$/s.exec(key) ?? []
    const known = name === '' ? undefined : Object.hasOwn(result, name) ? result[name] : {}
    if (typeof known === 'object' && known !== null && !Array.isArray(known)) {
      result[name] = { ...known, [inner]: value }
    } else result[key] = value
  }
  return result
}
