// The cache goes to the registry in a run of its own, when the image is there and its result is told: BuildKit
// would export it beside the push, and a failure or a hang of one would be the other's. Every step is known to
// the daemon by then, so nothing is built again.
import { type BuildctlPaths, cacheExportArgs, startBuildctl } from './buildctl.ts'
import { note } from './clock.ts'
import { CACHE_EXPORT_DEADLINE_MS, ERROR_CHARS_MAX } from './limits.ts'
import type { BuildConfig } from './protocol.ts'

const PREFIXES = /^error: (?:failed to solve: )?/

export interface CacheExportOptions {
  config: BuildConfig
  paths: Omit<BuildctlPaths, 'secretsFolder'>
  dockerConfig: string
  log(line: string): void
  signal: AbortSignal
}

/** Whether it was exported; it never throws, and it ends within its deadline. */
export async function exportCache(options: CacheExportOptions): Promise<boolean> {
  const { config, paths, dockerConfig, log, signal } = options
  const repository = config.cache_export!
  const deadlineMs = (config.cache_export_seconds ?? CACHE_EXPORT_DEADLINE_MS / 1000) * 1000
  const started = performance.now()
  const overdue = AbortSignal.timeout(deadlineMs)
  const over = AbortSignal.any([overdue, signal])
  const buildctl = startBuildctl(cacheExportArgs(config, paths), dockerConfig)
  const onOver = () => void buildctl.stop()
  over.addEventListener('abort', onOver, { once: true })
  if (over.aborted) onOver()
  let error = 'buildctl was killed'
  for await (const line of buildctl.lines) {
    if (line.startsWith('error: ')) error = line.slice(0, ERROR_CHARS_MAX).replace(PREFIXES, '')
  }
  const exitCode = await buildctl.exitCode
  over.removeEventListener('abort', onOver)
  const ms = Math.round(performance.now() - started)
  note(`cache export ended with exit code ${exitCode} after ${ms} ms`)
  if (exitCode === 0) {
    log(`Cache exported to ${repository} in ${(ms / 1000).toFixed(1)} s`)
    return true
  }
  const why = overdue.aborted ? `it took longer than ${deadlineMs / 1000} s` : error
  log(`warning: the cache was not exported to ${repository}: ${why}`)
  return false
}
