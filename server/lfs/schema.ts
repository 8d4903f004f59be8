// What clients of Git LFS send.
import { z } from 'zod'
import { AppError } from '../errors.ts'
import { validate } from '../http/validation.ts'
import { LFS_BATCH_OBJECTS_MAX } from '../limits.ts'
import { Oid } from './pointer.ts'

const Size = z.number().int().nonnegative()

/** Fields that are not known are of newer clients. */
export const BatchRequest = z.object({
  operation: z.enum(['download', 'upload']),
  transfers: z
    .array(z.string())
    .refine((kinds) => kinds.includes('basic'), { error: 'must hold basic: no other is served' })
    .optional(),
  hash_algo: z.literal('sha256', { error: 'must be sha256' }).optional(),
  objects: z.array(z.object({ oid: Oid, size: Size })),
})
export type BatchRequest = z.infer<typeof BatchRequest>

export const VerifyRequest = z.object({ oid: Oid, size: Size })
export type VerifyRequest = z.infer<typeof VerifyRequest>

/** Throws AppError `invalid_request`, or `body_too_large` for too many objects. */
export function parseBatch(body: unknown): BatchRequest {
  const batch = validate(BatchRequest, body, 'body')
  const { length } = batch.objects
  if (length <= LFS_BATCH_OBJECTS_MAX) return batch
  throw new AppError(
    'body_too_large',
    `${length} objects in one request, over the limit of ${LFS_BATCH_OBJECTS_MAX}`,
    { hint: 'ask for fewer at a time' },
  )
}
