// One run of the retention: every part in its order, one run at a time in the whole installation. What is deleted
// and until when is the database's word; a run that ends early is gone on with by the next one.
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { tryHolding } from '../db/advisory-lock.ts'
import type { Db } from '../db/pool.ts'
import { AppError } from '../errors.ts'
import type { FindLfsNames } from '../git/lfs-names.ts'
import { createLfsRetention, type LfsOrphans } from '../lfs/retention.ts'
import { createUnnamedRetention } from '../lfs/unnamed.ts'
import type { Objects } from '../objects/objects.ts'
import type { RegistryClient } from '../registry/client.ts'
import type { Log } from '../telemetry/log.ts'
import { createBuildRetention } from './build-rows.ts'
import { createCacheRetention } from './caches.ts'
import { createImageRetention } from './images.ts'
import { createLogRetention } from './logs.ts'
import { createOrphanImages } from './orphan-images.ts'
import { createPushRetention } from './push-rows.ts'
import { createReport, type Kind, type ReportResult, type RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'
import { createSourceRetention } from './sources.ts'

export interface RetentionOptions {
  db: Db
  log: Log
  settings: RetentionSettings
  registry: Pick<
    RegistryClient,
    'deleteRepository' | 'deletePublished' | 'deleteTags' | 'hasTags' | 'repositories'
  >
  /** False: another server may use it as well. */
  ownsRegistry: boolean
  objects: Pick<Objects, 'list' | 'remove'>
  lfs: LfsOrphans
  lfsNames: FindLfsNames
  removeTags(appId: string, buildIds: readonly string[]): Promise<void>
  /** Folder of the disks of builders on this machine. */
  buildersDir: string
  /** Told of each run that was not a dry one. */
  onRun?(result: ReportResult): void
}

export interface RetentionResult extends ReportResult {
  dryRun: boolean
  tookMs: number
  /** Disks of builders on this machine: they are kept by their own rules. */
  builders: { disks: number; bytes: number }
}

export type Retention = ReturnType<typeof createRetention>

export function createRetention(options: RetentionOptions) {
  const { db, log, buildersDir, onRun } = options
  const parts: [Kind, { run(run: RetentionRun): Promise<void> }][] = [
    ['image', createImageRetention(options)],
    ['cache', createCacheRetention(options)],
    ['orphan', createOrphanImages(options)],
    ['source', createSourceRetention(options)],
    ['orphan', createUnnamedRetention(options)],
    ['orphan', createLfsRetention(options)],
    ['log', createLogRetention(options)],
    ['build', createBuildRetention(options)],
    ['push', createPushRetention(options)],
  ]

  const stopping = new AbortController()
  const running = new Set<Promise<unknown>>()

  function all(dryRun: boolean): Promise<RetentionResult> {
    const run = runParts(dryRun)
    running.add(run)
    return run.finally(() => running.delete(run))
  }

  async function runParts(dryRun: boolean): Promise<RetentionResult> {
    const { signal } = stopping
    const started = performance.now()
    const report = createReport({ log, dryRun })
    for (const [kind, part] of parts) {
      if (signal.aborted) break
      await part
        .run({ dryRun, report, signal })
        .catch((error) => report.fail(kind, 'all of them', error))
    }
    const result = report.result()
    const builders = await diskUse(buildersDir)
    return { ...result, dryRun, tookMs: Math.round(performance.now() - started), builders }
  }

  return {
    /** What would go now, and why. */
    look: (): Promise<RetentionResult> => all(true),

    /** Throws AppError `conflict` while another run is under way. */
    async run(): Promise<RetentionResult> {
      const result = await tryHolding(db, 'retention', () => all(false))
      if (!result) throw new AppError('conflict', 'a run of the retention is under way already')
      onRun?.(result)
      const { totals, tookMs, failures } = result
      const counts = Object.entries(totals).filter(([, { count }]) => count > 0)
      const summary = { deleted: Object.fromEntries(counts), failures: failures.length, tookMs }
      if (counts.length + failures.length > 0) log.info(summary, 'retention ran')
      return result
    },

    /** Ends what runs at the next thing to delete. */
    async stop(): Promise<void> {
      stopping.abort()
      await Promise.allSettled(running)
    },
  }
}

async function diskUse(root: string): Promise<RetentionResult['builders']> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  const use = { disks: 0, bytes: 0 }
  for (const entry of entries) {
    if (!entry.isFile()) continue
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => undefined)
    if (!found) continue // gone meanwhile
    use.disks += 1
    use.bytes += found.blocks * 512
  }
  return use
}
