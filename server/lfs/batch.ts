// The batch API of Git LFS: where each object is sent to or got from, and why one is not taken.
import { AppError } from '../errors.ts'
import {
  LFS_APP_BYTES_MAX,
  LFS_BATCH_BYTES_MAX,
  LFS_OBJECT_BYTES_MAX,
  LFS_UNNAMED_DAYS,
} from '../limits.ts'
import type { BatchRequest } from './schema.ts'
import type { LfsStore } from './store.ts'

export interface LfsLimits {
  objectBytesMax: number
  /** Of one request. */
  batchBytesMax: number
  appBytesMax: number
}

export const LFS_LIMITS: LfsLimits = {
  objectBytesMax: LFS_OBJECT_BYTES_MAX,
  batchBytesMax: LFS_BATCH_BYTES_MAX,
  appBytesMax: LFS_APP_BYTES_MAX,
}

interface Answered {
  oid: string
  size: number
  actions?: Record<string, { href: string }>
  error?: { code: number; message: string }
}

export interface BatchReply {
  transfer: 'basic'
  hash_algo: 'sha256'
  objects: Answered[]
}

export interface AnswerBatchOptions {
  store: LfsStore
  appId: string
  /** Of the app's LFS paths, without a slash at its end. */
  base: string
  batch: BatchRequest
  limits: LfsLimits
}

/** Throws AppError `source_too_large` when all of it together is too much. */
export async function answerBatch(options: AnswerBatchOptions): Promise<BatchReply> {
  const { store, appId, base, batch, limits } = options
  const isUpload = batch.operation === 'upload'
  const oids = batch.objects.map(({ oid }) => oid)
  const known = await (isUpload ? store.promise(appId, oids) : store.sizes(appId, oids))
  // A download is tried all the same: storage that was away is no storage that has lost something.
  const lost = isUpload ? await store.lost(appId, oids) : new Set<string>()
  const isHere = ({ oid, size }: { oid: string; size: number }) =>
    known.get(oid) === size && !lost.has(oid)
  if (isUpload) {
    const sent = batch.objects.filter((object) => !isHere(object))
    const added = sent.filter(({ oid }) => !lost.has(oid))
    const bytes = added.reduce((sum, { size }) => sum + size, 0)
    if (bytes > 0) await requireLfsRoom(store, appId, bytes, limits)
  }
  const answer = isUpload ? upload : download
  const objects = batch.objects.map(({ oid, size }) => ({
    oid,
    size,
    ...answer({ oid, size }, { base, isHere: isHere({ oid, size }), limits }),
  }))
  return { transfer: 'basic', hash_algo: 'sha256', objects }
}

interface Known {
  base: string
  isHere: boolean
  limits: LfsLimits
}

type Asked = Pick<Answered, 'oid' | 'size'>

function upload({ oid, size }: Asked, { base, isHere, limits }: Known): Partial<Answered> {
  if (isHere) return {}
  if (size > limits.objectBytesMax) {
    return { error: { code: 422, message: tooLargeObject(size, limits) } }
  }
  return {
    actions: {
      upload: { href: `${base}/objects/${oid}/${size}` },
      verify: { href: `${base}/objects/verify` },
    },
  }
}

function download({ oid }: Asked, { base, isHere }: Known): Partial<Answered> {
  if (!isHere) return { error: { code: 404, message: 'this app has no such object' } }
  return { actions: { download: { href: `${base}/objects/${oid}` } } }
}

/** Throws AppError `source_too_large`. */
export function requireObjectSize(size: number, limits: LfsLimits): void {
  if (size <= limits.objectBytesMax) return
  throw new AppError('source_too_large', tooLargeObject(size, limits))
}

/** For so many bytes more. Throws AppError `source_too_large`. */
export async function requireLfsRoom(
  store: Pick<LfsStore, 'used'>,
  appId: string,
  bytes: number,
  { batchBytesMax, appBytesMax }: LfsLimits,
): Promise<void> {
  if (bytes > batchBytesMax) {
    throw new AppError(
      'source_too_large',
      `${bytes} bytes of git-lfs objects at once, over the limit of ${batchBytesMax}`,
      { hint: 'push fewer commits at a time' },
    )
  }
  const used = await store.used(appId)
  if (used + bytes <= appBytesMax) return
  throw new AppError(
    'source_too_large',
    `the app's git-lfs objects would have ${used + bytes} bytes, over the limit of ${appBytesMax}`,
    {
      hint: `those that no ref names go after ${LFS_UNNAMED_DAYS} days; large data has a better place in a base image`,
    },
  )
}

function tooLargeObject(size: number, { objectBytesMax }: LfsLimits): string {
  return `an object of ${size} bytes is over the limit of ${objectBytesMax}`
}
