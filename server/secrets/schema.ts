// Secrets of an app on the wire. A value goes in and never comes out again.
import { z } from 'zod'
import { SecretId } from '../builds/request-schema.ts'
import { SECRET_BYTES_MAX } from '../limits.ts'

const tooLong = { error: `must be at most ${SECRET_BYTES_MAX} bytes`, abort: true }
const empty = { error: 'must not be empty', abort: true }
const fits = (bytes: number) => bytes <= SECRET_BYTES_MAX

/** writeOnly: what is wrong with it is said without quoting it. */
export const SecretValue = z
  .strictObject({
    value: z
      .string()
      .min(1, empty)
      .max(SECRET_BYTES_MAX, tooLong)
      .refine((text) => fits(Buffer.byteLength(text)), tooLong)
      .optional(),
    value_base64: z
      .base64()
      .min(1, empty)
      .refine((text) => fits(Buffer.byteLength(text, 'base64')), tooLong)
      .optional()
      .meta({ description: 'For bytes that are no text.' }),
  })
  .refine(({ value, value_base64 }) => (value === undefined) !== (value_base64 === undefined), {
    error: 'must have either value or value_base64',
  })
  .meta({ id: 'SecretValue', writeOnly: true, examples: [{ value: 'npm_1234' }] })
export type SecretValue = z.infer<typeof SecretValue>

export function bytesOf({ value, value_base64 }: SecretValue): Buffer {
  return value === undefined ? Buffer.from(value_base64 ?? '', 'base64') : Buffer.from(value)
}

/** A secret as the API shows it. */
export const WireSecret = z
  .object({ id: SecretId, created_at: z.string(), updated_at: z.string() })
  .meta({
    id: 'Secret',
    description: 'Its value is never shown.',
    examples: [
      {
        id: 'npm_token',
        created_at: '2026-05-04T11:58:00.000Z',
        updated_at: '2026-05-04T11:58:00.000Z',
      },
    ],
  })
export type WireSecret = z.infer<typeof WireSecret>

export interface StoredSecret {
  id: string
  createdAt: Date
  updatedAt: Date
}
