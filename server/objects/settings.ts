// The environment's words for where source archives are kept.
import { z } from 'zod'
import { asError } from '../errors.ts'
import { type ObjectsLocation, objectsLocation } from './location.ts'

const text = z.string().min(1).optional()

export const objectsVariables = {
  OBJECTS: text,
  S3_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' })
    .optional(),
  AWS_REGION: z.string().min(1).default('us-east-1'),
  AWS_ACCESS_KEY_ID: text,
  AWS_SECRET_ACCESS_KEY: text,
  AWS_SESSION_TOKEN: text,
}

export const OBJECTS_SECRET_NAMES = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
]

const Variables = z.object(objectsVariables)

/** undefined: a folder in the data folder. Throws RangeError that says what is wrong. */
export function objectsSettings(e: z.infer<typeof Variables>): ObjectsLocation | undefined {
  if (e.OBJECTS === undefined) return undefined
  return objectsLocation({
    where: e.OBJECTS,
    endpoint: e.S3_ENDPOINT,
    region: e.AWS_REGION,
    accessKeyId: e.AWS_ACCESS_KEY_ID,
    secretAccessKey: e.AWS_SECRET_ACCESS_KEY,
    sessionToken: e.AWS_SESSION_TOKEN,
  })
}

export function checkObjects(e: z.infer<typeof Variables>, context: z.RefinementCtx): void {
  try {
    objectsSettings(e)
  } catch (error) {
    context.addIssue({ code: 'custom', path: ['OBJECTS'], message: asError(error).message })
  }
}
