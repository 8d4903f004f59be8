// pre-receive: may this push come in at all? Nothing is built here. A refusal is a reason and what to do.
import { statfs } from 'node:fs/promises'
import { effectiveSettings } from '../apps/schema.ts'
import type { Db } from '../db/pool.ts'
import { DISK_FREE_BYTES_MIN } from '../limits.ts'
import { classify } from './classify.ts'
import type { LivePush } from './live.ts'
import type { RefUpdate } from './pkt-line.ts'

const DATABASE_DEADLINE_MS = 5_000

export interface Refusal {
  reason: string
  hint: string
}

export interface AdmissionOptions {
  db: Db
  /** A folder on the disk that must have room. */
  diskPath: string
  freeBytesMin?: number
}

export type Admission = ReturnType<typeof createAdmission>

export function createAdmission({ db, diskPath, freeBytesMin }: AdmissionOptions) {
  const floor = freeBytesMin ?? DISK_FREE_BYTES_MIN

  return async (push: LivePush, updates: readonly RefUpdate[]): Promise<Refusal | undefined> => {
    const { deployBranches } = effectiveSettings(push.app.settings)
    for (const update of updates) {
      const classified = classify(update, deployBranches)
      if (classified.kind === 'refused') return classified
    }
    const { bavail, bsize } = await statfs(diskPath)
    if (bavail * bsize < floor) {
      const free = Math.floor((bavail * bsize) / 1024 / 1024)
      return {
        reason: `the build server has only ${free} MiB of disk left and takes no pushes now`,
        hint: 'tell its operator; nothing of this push was kept',
      }
    }
    if (!(await databaseAnswers(db))) {
      return {
        reason: 'the build server cannot reach its database and takes no pushes now',
        hint: 'push again in a moment; nothing of this push was kept',
      }
    }
    return undefined
  }
}

async function databaseAnswers(db: Db): Promise<boolean> {
  return db
    .raw('select 1')
    .timeout(DATABASE_DEADLINE_MS)
    .then(
      () => true,
      () => false,
    )
}
