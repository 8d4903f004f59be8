// One collection in our own registry, while it is read and written. Repository by repository the links go that
// no manifest names and nobody was told of within the grace time: from then on clients are told 404 and upload
// again. Then the data goes that nothing links. It may be broken off anywhere: nothing that is linked is touched.
import { join } from 'node:path'
import { asError } from '../errors.ts'
import {
  GARBAGE_BATCH,
  REGISTRY_PUSH_GRACE_MS,
  REGISTRY_UNTAGGED_GRACE_MS,
  REGISTRY_UPLOAD_IDLE_MS,
} from '../limits.ts'
import type { OwnRegistry } from '../registry/own/own-registry.ts'
import { GateBusy } from '../registry/own/write-gate.ts'
import type { Log } from '../telemetry/log.ts'
import { unlinkedBlobs } from './blobs.ts'
import { entriesIn, foldersIn } from './folders.ts'
import { createHolds, type Holds } from './holds.ts'
import { type Linked, watchLinked } from './linked.ts'
import { createManifestReader } from './manifests.ts'
import { createRepositoryCollector } from './repository-collector.ts'
import { createTrash, type Trash } from './trash.ts'

export interface Graces {
  pushMs: number
  untaggedMs: number
  uploadMs: number
}

const GRACES: Graces = {
  pushMs: REGISTRY_PUSH_GRACE_MS,
  untaggedMs: REGISTRY_UNTAGGED_GRACE_MS,
  uploadMs: REGISTRY_UPLOAD_IDLE_MS,
}

export interface CollectOptions {
  registry: OwnRegistry
  /** Whether the manifests of a repository go that no tag names. */
  dropsUntagged(repository: string): boolean
  log: Log
  signal: AbortSignal
  graces?: Graces | undefined
  batch?: number
}

export interface Collected {
  repositories: number
  /** Left as they are because something in them can't be understood. */
  skipped: number
  manifests: number
  links: number
  uploads: number
  blobsBefore: number
  blobsAfter: number
  bytesFreed: number
  /** For how long writes were held, all in all and at once. */
  stallMs: number
  stallMaxMs: number
}

export async function collectGarbage(options: CollectOptions): Promise<Collected> {
  const { registry, signal, batch = GARBAGE_BATCH } = options
  const trash = createTrash(registry.storage.trash)
  await trash.empty()
  const holds = createHolds(registry.gate, signal)
  const linked = await holds.hold(async () => watchLinked(registry.gate))
  try {
    const repositories = await collectRepositories(options, { holds, linked, trash, batch })
    const blobs = await collectBlobs(registry, { holds, linked, trash, batch })
    return { ...repositories, ...blobs, ...holds.stall() }
  } finally {
    linked.end()
  }
}

interface Run {
  holds: Holds
  linked: Linked
  trash: Trash
  batch: number
}

async function collectRepositories(options: CollectOptions, run: Run) {
  const { registry, dropsUntagged, log, signal, graces = GRACES } = options
  const { storage } = registry
  const now = Date.now()
  const collectOne = createRepositoryCollector({
    storage,
    readManifest: createManifestReader(storage),
    cutoffs: {
      link: now - graces.pushMs,
      untagged: now - graces.untaggedMs,
      upload: now - graces.uploadMs,
    },
    ...run,
  })
  const done = { repositories: 0, skipped: 0, manifests: 0, links: 0, uploads: 0 }
  for await (const name of repositoryNames(storage.repositories)) {
    signal.throwIfAborted()
    done.repositories += 1
    try {
      const swept = await collectOne(name, dropsUntagged(name))
      done.manifests += swept.manifests
      done.links += swept.links
      done.uploads += swept.uploads
    } catch (error) {
      if (signal.aborted || error instanceof GateBusy) throw error
      log.error({ err: asError(error).message, repository: name }, 'repository left as it is')
      done.skipped += 1
      for (const part of ['_manifests/revisions', '_layers']) {
        await run.linked.add(await entriesIn(join(storage.repository(name), part)))
      }
    }
  }
  return done
}

async function collectBlobs({ storage }: OwnRegistry, { holds, linked, trash, batch }: Run) {
  const { count, unlinked } = await unlinkedBlobs(storage, linked.has)
  let gone = 0
  let bytesFreed = 0
  for (let n = 0; n < unlinked.length; n += batch) {
    const some = await holds.hold(async () => {
      const still = unlinked.slice(n, n + batch).filter(({ digest }) => !linked.has(digest))
      // From here on an upload of the same bytes is a new one.
      for (const { folder } of still) trash.putAside(folder)
      return still
    })
    gone += some.length
    bytesFreed += some.reduce((sum, { bytes }) => sum + bytes, 0)
    await trash.empty()
  }
  return { blobsBefore: count, blobsAfter: count - gone, bytesFreed }
}

/** Repositories may lie below one another. */
async function* repositoryNames(root: string, prefix = ''): AsyncGenerator<string> {
  const names = await foldersIn(join(root, prefix))
  if (prefix !== '' && names.some((name) => name.startsWith('_'))) yield prefix.slice(0, -1)
  for (const name of names.filter((each) => !each.startsWith('_'))) {
    yield* repositoryNames(root, `${prefix}${name}/`)
  }
}
