// What the clients were told, to be held against what became of it.
import type { Pushed } from './audit.ts'

export type Verdict = 'passes' | 'fails'

export interface Ledger {
  pushes: Pushed[]
  /** Builds whose cancel was acknowledged. */
  cancelled: string[]
  /** Builds that POST /builds has acknowledged, and how they must end unless something else ends them. */
  submitted: Map<string, Verdict>
  /** How builds of a commit must end. */
  commits: Map<string, Verdict>
  /** What clients have done beside, by its name. */
  acts: string[]
  /** Kinds of the faults that found something to break. */
  faults: string[]
  /** What no client should ever meet. */
  surprises: string[]
}

export function createLedger(): Ledger {
  return {
    pushes: [],
    cancelled: [],
    submitted: new Map(),
    commits: new Map(),
    acts: [],
    faults: [],
    surprises: [],
  }
}
