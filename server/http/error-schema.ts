// The error document as clients and /openapi.json know it (seed 000's shape).
import { z } from 'zod'
import { ERROR_CODES } from '../errors.ts'

export const ErrorDocument = z
  .object({
    code: z.enum(ERROR_CODES),
    message: z.string().meta({ description: 'What happened, with which value, and what to do.' }),
    details: z.array(z.object({ code: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Error' })
