// What the server keeps and for how long, where an app does not say otherwise. `off` keeps it for ever.
import { z } from 'zod'
import {
  BUILD_DAYS_DEFAULT,
  CACHE_DAYS_DEFAULT,
  KEEP_IMAGES_DEFAULT,
  KEEP_IMAGES_MAX,
  LOG_DAYS_DEFAULT,
  RETENTION_DAYS_MAX,
  SOURCE_DAYS_DEFAULT,
  UPLOAD_IMAGE_DAYS_DEFAULT,
} from '../limits.ts'

const KEEP = 'off'

function limit(max: number, byDefault: number | typeof KEEP) {
  const error = `must be a whole number from 1 to ${max}, or ${KEEP}`
  return z
    .string()
    .regex(/^(off|[1-9]\d{0,6})$/, { error, abort: true })
    .default(String(byDefault))
    .refine((text) => text === KEEP || Number(text) <= max, { error })
    .transform((text) => (text === KEEP ? undefined : Number(text)))
}

const days = (byDefault: number | typeof KEEP) => limit(RETENTION_DAYS_MAX, byDefault)

export const retentionVariables = {
  RETENTION_IMAGES: limit(KEEP_IMAGES_MAX, KEEP_IMAGES_DEFAULT),
  RETENTION_IMAGE_DAYS: days(KEEP),
  RETENTION_UPLOAD_DAYS: days(UPLOAD_IMAGE_DAYS_DEFAULT),
  RETENTION_BUILD_DAYS: days(BUILD_DAYS_DEFAULT),
  RETENTION_LOG_DAYS: days(LOG_DAYS_DEFAULT),
  RETENTION_SOURCE_DAYS: days(SOURCE_DAYS_DEFAULT),
  RETENTION_CACHE_DAYS: days(CACHE_DAYS_DEFAULT),
}

/** Undefined: kept for ever. */
export interface RetentionSettings {
  /** Images of an app. */
  keepImages: number | undefined
  imageDays: number | undefined
  /** Images of builds of no app. */
  uploadDays: number | undefined
  /** Builds that have ended, with all that is known of them. */
  buildDays: number | undefined
  logDays: number | undefined
  sourceDays: number | undefined
  cacheDays: number | undefined
}

type Read = z.infer<z.ZodObject<typeof retentionVariables>>

export function retentionSettings(read: Read): RetentionSettings {
  return {
    keepImages: read.RETENTION_IMAGES,
    imageDays: read.RETENTION_IMAGE_DAYS,
    uploadDays: read.RETENTION_UPLOAD_DAYS,
    buildDays: read.RETENTION_BUILD_DAYS,
    logDays: read.RETENTION_LOG_DAYS,
    sourceDays: read.RETENTION_SOURCE_DAYS,
    cacheDays: read.RETENTION_CACHE_DAYS,
  }
}
