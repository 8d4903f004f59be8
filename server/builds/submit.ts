// Submitting a build without git. Everything that can be wrong is found before anything is queued or kept:
// the source waits beside the store until the row is there.
import type { Readable } from 'node:stream'
import { createId } from '@paralleldrive/cuid2'
import type { Principal } from '../auth/principal.ts'
import type { Db } from '../db/pool.ts'
import { AppError, DOCKERFILE_REQUIRED, invalidRequest } from '../errors.ts'
import type { ReceiveForm } from '../http/route.ts'
import type { Objects } from '../objects/objects.ts'
import { stageUpload, type UploadedSource, type UploadLimits } from '../sources/upload.ts'
import { readFields, type SubmitFields } from './form.ts'
import {
  fingerprintOf,
  type RepeatableRequest,
  rememberBuild,
  repeatedBuild,
} from './idempotency.ts'
import { lockQueue } from './queue-room.ts'
import type { BuildStore, NewBuild } from './store.ts'
import { requestOf } from './submission.ts'

const DOCKERFILE_DEFAULT = 'Dockerfile'

export interface SubmissionsOptions {
  db: Db
  store: BuildStore
  objects: Objects
  limits?: UploadLimits
}

export type Submissions = ReturnType<typeof createSubmissions>

export function createSubmissions({ db, store, objects, limits }: SubmissionsOptions) {
  /** Returns the id of the queued build, or of the one this request made before. */
  async function submit(
    principal: Principal,
    receive: ReceiveForm,
    idempotencyKey?: string,
  ): Promise<string> {
    const upload: { source?: UploadedSource | undefined } = {}
    try {
      const form = await receive(async (file: Readable) => {
        upload.source = await stageUpload(file, objects, limits)
      })
      const { source } = upload
      const repeatable = idempotencyKey !== undefined && {
        tenant: principal.tenant,
        key: idempotencyKey,
        fingerprint: fingerprintOf(form, source?.hash),
      }
      const before = repeatable && (await repeatedBuild(db, repeatable))
      if (before) return before
      const fields = readFields(form)
      if (!source) throw invalidRequest('source is required')
      checkSource(source, fields)
      const build: NewBuild = {
        id: createId(),
        tenant: principal.tenant,
        pusher: principal.user,
        request: requestOf(fields, principal),
        tags: fields.tags ?? {},
        sourceKey: source.staged.key,
        sourceHash: source.hash,
        sourceBytes: source.staged.bytes,
      }
      return await enqueue(build, source.staged.keep, repeatable || undefined)
    } finally {
      await upload.source?.staged.discard()
    }
  }

  async function enqueue(
    build: NewBuild,
    keepSource: () => Promise<void>,
    repeatable: RepeatableRequest | undefined,
  ): Promise<string> {
    return db.transaction(async (trx) => {
      await lockQueue(trx, build.tenant)
      const before = repeatable && (await repeatedBuild(trx, repeatable))
      if (before) return before
      const { id } = await store.insert(trx, build)
      if (repeatable) await rememberBuild(trx, repeatable, id)
      // Last: what fails above leaves nothing behind.
      await keepSource()
      return id
    })
  }

  return { submit }
}

function checkSource({ hash, facts }: UploadedSource, fields: SubmitFields): void {
  const { source_hash: expected, dockerfile, dockerfile_path: path = DOCKERFILE_DEFAULT } = fields
  if (expected !== undefined && expected.replace(/^sha256:/, '') !== hash.replace(/^sha256:/, '')) {
    throw new AppError(
      'source_hash_mismatch',
      `source hash mismatch: ${expected} was expected, the source has ${hash}`,
    )
  }
  if (dockerfile === undefined && !facts.hasFile(path)) {
    throw new AppError('dockerfile_required', DOCKERFILE_REQUIRED, {
      details: [{ code: 'dockerfile_required', message: `there is no ${path} in the source` }],
    })
  }
}
