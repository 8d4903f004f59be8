// What one attempt at a build has with it, from its claim to its end.
import type { BuildResult } from '../../agent/protocol.ts'
import type { BuilderDisk } from '../builders/disks.ts'
import type { CachePlan } from '../cache/plan.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { Lease } from '../queue/lease.ts'
import type { Runner } from '../runners/runner.ts'
import type { Redactor } from '../secrets/redact.ts'
import type { Log } from '../telemetry/log.ts'
import type { Saving } from './builder-disk.ts'
import type { CacheReport } from './cache-report.ts'
import type { Fetched } from './fetched.ts'
import type { LogWriter } from './log-writer.ts'
import type { Network } from './network.ts'
import type { Resources } from './pod-config.ts'
import type { Watchdog } from './watchdog.ts'

/** Where it runs. */
export interface RunsOn {
  runner: Runner
  /** What a pod is called in a sentence. */
  noun: string
  log: Log
}

export interface Run {
  build: ClaimedBuild
  lease: Lease
  resources: Resources
  /** What makes this worker the host of the attempt's agent. */
  channelKey: string
  writer: LogWriter
  redactor: Redactor
  watchdog: Watchdog
  network: Network
  /** Of the builder it uses. */
  disk?: BuilderDisk | undefined
  saving?: Saving | undefined
  isRecorded?: boolean
  cache: CachePlan
  fetched: Fetched
  cacheReport: CacheReport
}

export function cacheOf({ cacheReport, disk }: Run, { cache: use, cache_trouble }: BuildResult) {
  return cacheReport.facts({ use, disk: cache_trouble === undefined ? disk : undefined })
}
