// What an audit is given and what it finds.
import type { Facts } from './facts.ts'
import type { Repositories } from './repositories.ts'

export interface Pushed {
  /** Name of the app, or `<tenant>/<name>` where that is not enough. */
  repository: string
  ref: string
  commit: string
  /** `unknown`: the connection was lost before git's report. Pushes of a ref are listed in their order. */
  outcome: 'accepted' | 'refused' | 'unknown'
  detail?: string
}

export interface AuditInput {
  databaseUrl: string
  /** Folder of the bare repositories. */
  repositories: string
  /** Folder of the source archives. */
  objects: string
  registryUrl: string
  /** An operator's: pulls everything. */
  token: string
  /** Of server and workers. */
  dataDirs: string[]
  /** Processes that may live, with their children; none: all were stopped, and the registry with them. */
  pids: number[]
  limits: {
    global?: number
    perTenant?: Record<string, number>
    perWorkerSlots?: Record<string, number>
  }
  pushes: Pushed[]
  /** Ids of builds whose cancel was acknowledged. */
  cancelled: string[]
  /** Default: when no process may live. The registry is not asked then, and nothing at all may be left. */
  isStopped?: boolean
}

export interface Finding {
  invariant: string
  /** Names the build, ref or file, and the facts that contradict each other. */
  what: string
}

/** One family of invariants. */
export type Check = (
  facts: Facts,
  input: AuditInput,
  repositories: Repositories,
) => Finding[] | Promise<Finding[]>
