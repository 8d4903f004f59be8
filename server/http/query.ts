// Words of query strings that several routes share.
import { z } from 'zod'

/** `true`, `1`, `false` or `0`. */
export const BooleanText = z
  .enum(['true', '1', 'false', '0'], { error: 'must be true or false' })
  .transform((text) => text === 'true' || text === '1')
  .meta({ override: { type: 'boolean', enum: [true, false] } })
