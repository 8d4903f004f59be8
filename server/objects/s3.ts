// Source archives in a bucket of S3-compatible storage. What comes in is uploaded to incoming/ while it is hashed;
// keeping it is a copy within the bucket to the name that is its hash, so no transaction waits for the upload.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  paginateListObjectsV2,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { AppError, asError } from '../errors.ts'
import {
  S3_ATTEMPTS_MAX,
  S3_CONNECT_DEADLINE_MS,
  S3_IDLE_DEADLINE_MS,
  S3_INCOMING_AGE_MS,
  S3_PART_BYTES,
  S3_PARTS_AT_ONCE,
} from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import {
  hexOf,
  isKey,
  ObjectLost,
  type Objects,
  OWNER_FILE,
  requireKey,
  type StagedObject,
} from './objects.ts'
import { createS3Owner } from './s3-owner.ts'

export interface S3Settings {
  bucket: string
  /** Empty, or ends in a slash. */
  prefix: string
  region: string
  /** undefined: Amazon's own of the region. */
  endpoint: string | undefined
  /** undefined: what the SDK finds by itself (the machine's role, say). */
  credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined
}

export interface S3ObjectsOptions extends S3Settings {
  /** Folder for archives on their way to a pod; only this server uses it. */
  temporary: string
  log: Log
}

export type S3Objects = Objects & {
  /** Throws AppError `objects_unavailable` when the bucket can't be used. */
  check(): Promise<void>
  close(): void
}

export function createS3Objects(options: S3ObjectsOptions): S3Objects {
  const { bucket: Bucket, prefix, temporary, log } = options
  const client = createClient(options)
  const nameOf = (key: string) => `${prefix}${requireKey(key)}.tar`
  const owner = createS3Owner(client, { Bucket, Key: `${prefix}${OWNER_FILE}` })
  const ask = <T>(what: string, work: () => Promise<T>) => asking(options, what, work)

  async function drop(Key: string): Promise<void> {
    await client.send(new DeleteObjectCommand({ Bucket, Key }))
  }

  async function stage(stream: AsyncIterable<Buffer>): Promise<StagedObject> {
    const Key = `${prefix}incoming/${randomUUID()}`
    const meter = createMeter(stream)
    await ask('storing', async () => {
      const Body = Readable.from(meter.pass(), { objectMode: false })
      const upload = new Upload({
        client,
        params: { Bucket, Key, Body, ChecksumAlgorithm: 'SHA256' },
        partSize: S3_PART_BYTES,
        queueSize: S3_PARTS_AT_ONCE,
      })
      try {
        await upload.done()
      } catch (error) {
        Body.destroy()
        throw meter.failure() ?? error
      }
    })
    const hex = meter.hex()
    const key = `sources/${hex}`
    const copy = { Bucket, Key: nameOf(key), CopySource: encodeURI(`${Bucket}/${Key}`) }
    return {
      key,
      sha256: `sha256:${hex}`,
      bytes: meter.bytes(),
      keep: () =>
        ask('keeping', async () => {
          await client.send(new CopyObjectCommand(copy))
        }),
      // Whoever discards has its answer already; what stays is swept.
      discard: () =>
        drop(Key).catch((error) =>
          log.warn({ err: asError(error).message, key: Key }, 'a staged object was left behind'),
        ),
    }
  }

  /** Ends uploads nobody has finished for long, and staged sources that nobody kept. */
  async function sweep(): Promise<number> {
    const Prefix = `${prefix}incoming/`
    // By the storage's clock, which the client has learned from its answers.
    const now = () => Date.now() + client.config.systemClockOffset
    const isOld = (time?: Date) => time && now() - time.getTime() > S3_INCOMING_AGE_MS
    let count = 0
    for await (const page of paginateListObjectsV2({ client }, { Bucket, Prefix })) {
      for (const { Key, LastModified } of page.Contents ?? []) {
        if (!Key || !isOld(LastModified)) continue
        await drop(Key)
        count += 1
      }
    }
    const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket, Prefix }))
    for (const { Key, UploadId, Initiated } of Uploads ?? []) {
      if (!isOld(Initiated)) continue
      await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
      count += 1
    }
    return count
  }

  return {
    stage,

    fetch(key, signal) {
      const Key = nameOf(key)
      return ask('fetching', async () => {
        const file = join(temporary, randomUUID())
        const release = () => rm(file, { force: true })
        try {
          await mkdir(temporary, { recursive: true, mode: 0o700 })
          const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }), {
            abortSignal: signal,
          })
          const meter = createMeter(Body as Readable)
          const handle = await open(file, 'wx', 0o600) // before the stream can fail: see release
          await pipeline(meter.pass(), handle.createWriteStream(), { signal })
          if (meter.hex() === hexOf(key)) return { path: file, release }
          throw new ObjectLost(`${Key} in bucket ${Bucket} has other content: it is damaged`)
        } catch (error) {
          await release()
          throw isLost(error) ? new ObjectLost(lostMessage(options, Key, error), error) : error
        }
      })
    },

    remove: (key) => {
      const Key = nameOf(key)
      return ask('removing', () => drop(Key))
    },

    async *list() {
      const Prefix = `${prefix}sources/`
      for await (const page of paginateListObjectsV2({ client }, { Bucket, Prefix })) {
        for (const { Key = '', Size: bytes = 0 } of page.Contents ?? []) {
          const key = Key.slice(prefix.length).replace(/\.tar$/, '')
          if (isKey(key)) yield { key, bytes }
        }
      }
    },

    sweep: () => ask('sweeping', sweep),

    owner: () => ask('reading whose it is', owner.read),

    own: (installation) => ask('telling whose it is', () => owner.write(installation)),

    // Not HEAD: its reply says no more than a number.
    check: () =>
      ask('start', async () => {
        await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1 }))
      }),

    close: () => client.destroy(),
  }
}

function createClient({ region, endpoint, credentials }: S3Settings): S3Client {
  return new S3Client({
    region,
    // Storage that is not Amazon's seldom has a name per bucket.
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...(credentials === undefined ? {} : { credentials }),
    maxAttempts: S3_ATTEMPTS_MAX,
    requestHandler: {
      connectionTimeout: S3_CONNECT_DEADLINE_MS,
      socketTimeout: S3_IDLE_DEADLINE_MS,
    },
  })
}

/** The source's own error stays what it is; one of the storage says which, and what it answered. */
async function asking<T>(settings: S3Settings, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof AppError || !isOfStorage(error)) throw error
    const { name, message } = asError(error)
    throw new AppError(
      'objects_unavailable',
      `object storage (${place(settings)}) failed at ${what}: ${name}: ${message}`,
      { hint: 'try again; nothing of this was kept', cause: error },
    )
  }
}

function place({ bucket, endpoint }: S3Settings): string {
  return endpoint === undefined ? `bucket ${bucket}` : `bucket ${bucket} at ${endpoint}`
}

/** It is gone, or the SDK says that its content is not what was put there. */
const isLost = (error: unknown) =>
  error instanceof Error &&
  (error.name === 'NoSuchKey' || /^checksum mismatch/i.test(error.message))

function lostMessage(settings: S3Settings, key: string, error: unknown): string {
  const { name, message } = asError(error)
  return `object storage (${place(settings)}) does not have ${key}: ${name}: ${message}`
}

function isOfStorage(error: unknown): boolean {
  return error instanceof S3ServiceException || (error instanceof Error && '$metadata' in error)
}

function createMeter(source: AsyncIterable<Uint8Array>) {
  const hash = createHash('sha256')
  let bytes = 0
  let failure: unknown
  let digest: string | undefined
  return {
    async *pass(): AsyncGenerator<Uint8Array> {
      try {
        for await (const chunk of source) {
          hash.update(chunk)
          bytes += chunk.length
          yield chunk
        }
      } catch (error) {
        failure = error
        throw error
      }
    },
    bytes: () => bytes,
    hex: () => {
      digest ??= hash.digest('hex')
      return digest
    },
    /** What the source itself failed with. */
    failure: () => failure,
  }
}
