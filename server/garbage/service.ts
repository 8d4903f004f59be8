// The garbage collection of this server: one at a time, by itself once a day, when somebody asks, and when the
// disk gets full; then not again before a while has passed.
import type { Db } from '../db/pool.ts'
import { AppError, asError } from '../errors.ts'
import {
  GARBAGE_FIRST_DELAY_MS,
  GARBAGE_INTERVAL_MS,
  GARBAGE_LOW_DISK_INTERVAL_MS,
} from '../limits.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { type Collected, collectGarbage, type Graces } from './collect.ts'
import { untaggedRule } from './untagged.ts'

export interface GarbageOptions {
  db: Db
  upstream: RegistryUpstream
  log: Log
  graces?: Graces
  firstDelayMs?: number
  intervalMs?: number
  lowDiskIntervalMs?: number
  /** undefined: it failed. */
  onRun?(result: Collected | undefined): void
}

export type Garbage = ReturnType<typeof createGarbage>

export function createGarbage(options: GarbageOptions) {
  const { db, upstream, log, graces, onRun } = options
  const { firstDelayMs = GARBAGE_FIRST_DELAY_MS, intervalMs = GARBAGE_INTERVAL_MS } = options
  const { lowDiskIntervalMs = GARBAGE_LOW_DISK_INTERVAL_MS } = options
  const stopping = new AbortController()
  let running: Promise<Collected> | undefined
  let lowDiskAt = Number.NEGATIVE_INFINITY

  async function collect(): Promise<Collected> {
    if (upstream.kind === 'url') {
      throw new AppError(
        'conflict',
        'the registry is not of this server (REGISTRY_URL): its garbage is collected there',
      )
    }
    const dropsUntagged = await untaggedRule(db)
    const { signal } = stopping
    const result = await collectGarbage({ registry: upstream, dropsUntagged, log, signal, graces })
    log.info({ ...result }, 'garbage collected')
    return result
  }

  /** Throws AppError `conflict` while one is under way, or when there is nothing to collect in. */
  async function run(): Promise<Collected> {
    if (running) throw new AppError('conflict', 'a garbage collection is under way already')
    try {
      running = collect()
      const result = await running
      onRun?.(result)
      return result
    } catch (error) {
      if (!(error instanceof AppError)) onRun?.(undefined)
      throw error
    } finally {
      running = undefined
    }
  }

  async function runByItself(why: string): Promise<void> {
    if (running || stopping.signal.aborted) return
    log.info({ why }, 'garbage collection begins')
    await run()
  }

  function failed(error: unknown): void {
    if (stopping.signal.aborted) return
    log.error({ err: asError(error).message }, 'garbage collection failed; the next one goes on')
  }

  const rounds = createRounds({
    work: () => runByItself('schedule'),
    intervalMs,
    onError: failed,
  })

  return {
    run,

    /** There is little room left: collects, unless that was tried a moment ago. */
    onLowDisk(): void {
      if (upstream.kind === 'url' || performance.now() - lowDiskAt < lowDiskIntervalMs) return
      lowDiskAt = performance.now()
      runByItself('low disk').catch(failed)
    },

    start(): void {
      if (upstream.kind === 'socket') void rounds.start(firstDelayMs)
    },

    async stop(): Promise<void> {
      stopping.abort(new Error('the server stops'))
      await rounds.stop()
      await running?.catch(() => {}) // whoever asked for it hears why
    },
  }
}
