// Submitting a build without git. Everything that can be wrong is found before anything is queued or kept:
// the source waits beside the store until the row is there.
import { Readable } from 'node:stream'
import { createId } from '@paralleldrive/cuid2'
import type { Knex } from 'knex'
import type { Principal } from '../auth/principal.ts'
import type { BuilderApp, Builders } from '../builders/service.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { AppError, DOCKERFILE_REQUIRED, invalidRequest, notFound } from '../errors.ts'
import { requireSubmodulesReachable } from '../git/submodules.ts'
import type { ReceiveForm } from '../http/route.ts'
import type { Objects, StagedObject } from '../objects/objects.ts'
import type { Queue } from '../queue/queue.ts'
import { stageUpload, type UploadedSource, type UploadLimits } from '../sources/upload.ts'
import { appendEvents } from './event-store.ts'
import { readFields, type SubmitFields } from './form.ts'
import {
  fingerprintOf,
  type RepeatableRequest,
  rememberBuild,
  repeatedBuild,
} from './idempotency.ts'
import { parseImageName, requireNotOfApp } from './image-name.ts'
import { lockQueue } from './queue-room.ts'
import { requireReachable } from './repo-url.ts'
import type { BuildRequest } from './request-schema.ts'
import { chooseSource } from './source-choice.ts'
import type { BuildRow, BuildStore, NewBuild } from './store.ts'
import { requestOf } from './submission.ts'

const DOCKERFILE_DEFAULT = 'Dockerfile'
const EMPTY_TAR_BYTES = 1024

export interface WantedCommit {
  app: string
  ref?: string | undefined
  commit?: string | undefined
  /** What HEAD is, when neither is given. */
  head?: boolean
}

/** A commit of a hosted app. */
export interface HostedCommit {
  appId: string
  /** Full name, when it was asked for by name. */
  ref?: string
  commit: string
  /** The builder its settings give it. */
  builder: string | undefined
  priority?: number | undefined
  /** How the app builds. */
  defaults: BuildRequest
  /** Throws AppError `dockerfile_required`, `invalid_source` or `source_too_large`. */
  archive(dockerfile: string | undefined): Promise<{ source: StagedObject; warnings: string[] }>
}

export interface SubmissionsOptions {
  db: Db
  store: BuildStore
  queue: Queue
  objects: Objects
  builders: Pick<Builders, 'named' | 'ofApp'>
  findCommit(principal: Principal, wanted: WantedCommit): Promise<HostedCommit>
  /** Whose apps are asked of `findCommit` when `repo_url` names them. */
  publicUrl(): string
  /** Throws AppError `disk_full`. */
  requireDiskRoom(): Promise<void>
  limits?: UploadLimits
}

/** A build that may be queued, and its source that is not in the store yet. */
interface Prepared {
  build: NewBuild
  app?: BuilderApp
  source: StagedObject
  /** Become the first lines of the build's log. */
  warnings: string[]
}

export type Submissions = ReturnType<typeof createSubmissions>

export function createSubmissions(options: SubmissionsOptions) {
  const { db, store, queue, objects, builders, findCommit, publicUrl, limits } = options
  const { requireDiskRoom } = options

  /** Returns the queued build, or the one this request made before. */
  async function submit(
    principal: Principal,
    receive: ReceiveForm,
    idempotencyKey?: string,
  ): Promise<BuildRow> {
    await requireDiskRoom()
    const upload: { source?: UploadedSource | undefined } = {}
    try {
      const form = await receive(async (file: Readable) => {
        upload.source = await stageUpload(file, objects, limits)
      })
      const { source } = upload
      const fingerprint = fingerprintOf(form, source?.hash)
      const repeatable =
        idempotencyKey === undefined
          ? undefined
          : { tenant: principal.tenant, key: idempotencyKey, fingerprint }
      const before = repeatable && (await madeBefore(repeatable))
      if (before) return before
      const prepared = await prepare(principal, readFields(form), source)
      return await enqueue(prepared, repeatable)
    } finally {
      await upload.source?.staged.discard()
    }
  }

  async function madeBefore(request: RepeatableRequest, from: Queryable = db) {
    const id = await repeatedBuild(from, request)
    return id === undefined ? undefined : store.get(id, from)
  }

  async function prepare(
    principal: Principal,
    given: SubmitFields,
    source: UploadedSource | undefined,
  ): Promise<Prepared> {
    const asked = { hasUpload: source !== undefined, publicUrl: publicUrl() }
    const { kind, fields } = chooseSource(principal, given, asked)
    switch (kind) {
      case 'upload':
        return prepareUpload(principal, fields, source)
      case 'hosted':
        return prepareHosted(principal, fields)
      case 'fetched':
        return prepareFetched(principal, fields)
    }
  }

  async function prepareFetched(
    principal: Principal,
    fields: SubmitFields & { repo_url: string },
  ): Promise<Prepared> {
    const request = requestOf(fields, principal)
    requireReachable(fields.repo_url, request.build_policy)
    await store.requireRoom(principal.tenant)
    // The agent gets the source itself, so what the host has for it is an archive of nothing.
    const source = await objects.stage(Readable.from([Buffer.alloc(EMPTY_TAR_BYTES)]))
    const { key: sourceKey, sha256: sourceHash, bytes: sourceBytes } = source
    const { ref } = fields
    const build = {
      ...newBuild(principal, fields, request),
      ...(ref === undefined ? {} : { ref }),
      sourceKey,
      sourceHash,
      sourceBytes,
    }
    return { build, source, warnings: [] }
  }

  async function prepareHosted(
    principal: Principal,
    fields: SubmitFields & WantedCommit,
  ): Promise<Prepared> {
    const found = await findCommit(principal, fields)
    const { appId, ref, commit, builder, priority, defaults, archive } = found
    const { head: _, ...asked } = fields
    const request = requestOf(asked, principal, defaults)
    await requireSubmodulesReachable(request.submodules ?? [], request.build_policy)
    await store.requireRoom(principal.tenant)
    const { source, warnings } = await archive(
      request.dockerfile === undefined
        ? (request.dockerfile_path ?? DOCKERFILE_DEFAULT)
        : undefined,
    )
    const { key: sourceKey, sha256: sourceHash, bytes: sourceBytes } = source
    const build = {
      ...newBuild(principal, { priority, ...fields }, request),
      appId,
      app: fields.app,
      ...(ref === undefined ? {} : { ref }),
      commit,
      sourceKey,
      sourceHash,
      sourceBytes,
    }
    const { tenant } = principal
    return { build, app: { id: appId, name: fields.app, tenant, builder }, source, warnings }
  }

  async function enqueue(
    { build, app, source, warnings }: Prepared,
    repeatable: RepeatableRequest | undefined,
  ): Promise<BuildRow> {
    try {
      return await db.transaction(async (trx) => {
        if (build.appId !== undefined) await requireApp(trx, build.appId)
        const builder = await builderOf(trx, build, app)
        if (repeatable) await lockQueue(trx, build.tenant)
        const before = repeatable && (await madeBefore(repeatable, trx))
        if (before) return before
        await requireNameFree(trx, build)
        const added = await queue.add(trx, { ...build, builder })
        const lines = warnings.map((text) => ({ type: 'log' as const, line: `warning: ${text}` }))
        if (lines.length > 0) await appendEvents(trx, added.id, lines)
        if (repeatable) await rememberBuild(trx, repeatable, added.id)
        // Last: what fails above leaves nothing behind.
        await source.keep()
        return added
      })
    } finally {
      await source.discard()
    }
  }

  /** Only pushes change what an app's builds find; an upload changes the builder that it names. */
  async function builderOf(trx: Knex.Transaction, { request, tenant }: NewBuild, app?: BuilderApp) {
    const { builder_id: id } = request
    if (id !== undefined) return builders.named(trx, { tenant, id, appId: app?.id })
    return app && builders.ofApp(trx, app, { promotes: false })
  }

  return { submit }
}

async function requireNameFree(trx: Knex.Transaction, { request, tenant }: NewBuild) {
  const { image_name: name } = request
  if (name !== undefined) await requireNotOfApp(trx, parseImageName(name, tenant), tenant)
}

/** Its row stays until the build is there. */
async function requireApp(trx: Knex.Transaction, id: string): Promise<void> {
  if (!(await trx('apps').where({ id }).forKeyShare().first('id'))) throw notFound('app')
}

function prepareUpload(
  principal: Principal,
  fields: SubmitFields,
  source: UploadedSource | undefined,
): Prepared {
  for (const name of ['ref', 'commit'] as const) {
    if (fields[name] !== undefined)
      throw invalidRequest(
        `${name} needs ${name === 'ref' ? 'app or repo_url' : 'app'}: whose it is`,
      )
  }
  if (!source) throw invalidRequest('source is required')
  checkSource(source, fields)
  const { staged, hash: sourceHash } = source
  const build = {
    ...newBuild(principal, fields, requestOf(fields, principal)),
    sourceKey: staged.key,
    sourceHash,
    sourceBytes: staged.bytes,
  }
  return { build, source: staged, warnings: [] }
}

function newBuild(principal: Principal, fields: SubmitFields, request: BuildRequest) {
  return {
    id: createId(),
    tenant: principal.tenant,
    pusher: principal.user,
    request,
    tags: fields.tags ?? {},
    priority: fields.priority,
  }
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
