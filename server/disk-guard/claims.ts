// A worker claims nothing while its disk is low, and says so in the database for as long.
import type { Db } from '../db/pool.ts'
import { LOW_DISK_RECORD_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { type DiskGuard, lowDiskReason } from './guard.ts'
import { forgetLowDisk, recordLowDisk } from './low-disks.ts'

export interface ClaimGuardOptions {
  db: Db
  log: Log
  worker: string
  guard: Pick<DiskGuard, 'look'>
}

export function createClaimGuard({ db, log, worker, guard }: ClaimGuardOptions) {
  let recordedAt: number | undefined
  return {
    /** Asked before each claim. */
    async mayClaim(): Promise<boolean> {
      const state = await guard.look()
      if (!state.isLow) {
        if (recordedAt !== undefined) {
          await forgetLowDisk(db, worker)
          recordedAt = undefined
          log.info({ freeBytes: state.freeBytes }, 'the disk has room again; builds are claimed')
        }
        return true
      }
      if (recordedAt === undefined) log.warn(`${lowDiskReason(state)}; no builds are claimed`)
      if (recordedAt === undefined || performance.now() - recordedAt >= LOW_DISK_RECORD_MS) {
        await recordLowDisk(db, worker, state)
        recordedAt = performance.now()
      }
      return false
    },
  }
}
