// Where OBJECTS says that source archives are kept: a folder, or a bucket of S3-compatible storage.
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Log } from '../telemetry/log.ts'
import { createLocalObjects, type LocalObjectsOptions, type Objects } from './objects.ts'
import type { S3Settings } from './s3.ts'

export type ObjectsLocation = { kind: 'folder'; path: string } | ({ kind: 's3' } & S3Settings)

/** As they stand in the environment. */
export interface ObjectsSettings {
  /** A folder, or `s3://bucket[/prefix]`. */
  where: string
  endpoint?: string | undefined
  region: string
  accessKeyId?: string | undefined
  secretAccessKey?: string | undefined
  sessionToken?: string | undefined
}

const BUCKET = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([\w./-]*))?$/

/** Throws RangeError that says what is wrong. */
export function objectsLocation(settings: ObjectsSettings): ObjectsLocation {
  const { where, endpoint, region, accessKeyId, secretAccessKey, sessionToken } = settings
  if (!where.includes('://')) return { kind: 'folder', path: resolve(where) }
  const [, bucket, path = ''] = BUCKET.exec(where) ?? []
  if (bucket === undefined) throw new RangeError('must be a folder or s3://bucket[/prefix]')
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    throw new RangeError('needs both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither')
  }
  const parts = path.split('/').filter((part) => part !== '')
  const credentials =
    accessKeyId === undefined || secretAccessKey === undefined
      ? undefined
      : {
          accessKeyId,
          secretAccessKey,
          ...(sessionToken === undefined ? {} : { sessionToken }),
        }
  const prefix = parts.map((part) => `${part}/`).join('')
  return { kind: 's3', bucket, prefix, region, endpoint, credentials }
}

/** A place within it, for objects of another kind. */
export function below(location: ObjectsLocation, name: string): ObjectsLocation {
  if (location.kind === 'folder') return { kind: 'folder', path: join(location.path, name) }
  return { ...location, prefix: `${location.prefix}${name}/` }
}

/** As OBJECTS has it, without a slash at its end. */
export function showLocation(location: ObjectsLocation): string {
  if (location.kind === 'folder') return location.path
  return `s3://${location.bucket}/${location.prefix}`.replace(/\/$/, '')
}

export interface OpenedObjects {
  objects: Objects
  close(): void
}

export interface OpenObjectsOptions extends Pick<LocalObjectsOptions, 'requireRoom'> {
  /** A folder of this process alone; what is in it is removed. */
  temporary: string
  log: Log
}

/** Throws AppError `objects_unavailable`. */
export async function openObjects(
  location: ObjectsLocation,
  { temporary, log, requireRoom }: OpenObjectsOptions,
): Promise<OpenedObjects> {
  if (location.kind === 'folder') {
    const objects = createLocalObjects({ root: location.path, requireRoom })
    return { objects, close: () => {} }
  }
  await rm(temporary, { recursive: true, force: true })
  // Its SDK is large: whoever has a folder does not wait for it.
  const { createS3Objects } = await import('./s3.ts')
  const objects = createS3Objects({ ...location, temporary, log })
  try {
    await objects.check()
  } catch (error) {
    objects.close()
    throw error
  }
  return { objects, close: objects.close }
}
