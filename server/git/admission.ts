// pre-receive: may this push come in at all? Nothing is built here. A refusal is a reason and what to do; it
// holds for the whole push, because git asks once for all refs.
import { statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { effectiveSettings } from '../apps/schema.ts'
import type { Db } from '../db/pool.ts'
import { AppError } from '../errors.ts'
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
  /** Throws AppError `queue_full`. */
  requireRoom(tenant: string): Promise<void>
  /** A folder on the disk that must have room. */
  diskPath: string
  freeBytesMin?: number
  databaseDeadlineMs?: number
}

export type Admission = ReturnType<typeof createAdmission>

export function createAdmission(options: AdmissionOptions) {
  const { db, requireRoom, diskPath, freeBytesMin = DISK_FREE_BYTES_MIN } = options
  const deadlineMs = options.databaseDeadlineMs ?? DATABASE_DEADLINE_MS

  return async (push: LivePush, updates: readonly RefUpdate[]): Promise<Refusal | undefined> => {
    const { deployBranches } = effectiveSettings(push.app.settings)
    let isBuilt = false
    for (const update of updates) {
      const classified = classify(update, deployBranches)
      if (classified.kind === 'refused') return classified
      isBuilt ||= classified.kind === 'build'
    }
    return (
      (await refuseFullDisk(diskPath, freeBytesMin)) ??
      (await refuseWithoutDatabase(db, deadlineMs)) ??
      (isBuilt ? refuseFullQueue(() => requireRoom(push.app.tenant)) : undefined)
    )
  }
}

async function refuseFullDisk(path: string, freeBytesMin: number): Promise<Refusal | undefined> {
  const { bavail, bsize } = await statfs(path)
  if (bavail * bsize >= freeBytesMin) return undefined
  const free = Math.floor((bavail * bsize) / 1024 / 1024)
  const needed = Math.ceil(freeBytesMin / 1024 / 1024)
  return {
    reason: `the build server has ${free} MiB of disk left and takes no pushes below ${needed} MiB`,
    hint: 'tell its operator; nothing of this push was kept',
  }
}

async function refuseFullQueue(requireRoom: () => Promise<void>): Promise<Refusal | undefined> {
  try {
    await requireRoom()
    return undefined
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    return { reason: error.message, hint: error.hint ?? 'push again in a moment' }
  }
}

async function refuseWithoutDatabase(db: Db, deadlineMs: number): Promise<Refusal | undefined> {
  const late = new AbortController()
  const answered = await Promise.race([
    db.raw('select 1').then(
      () => true,
      () => false,
    ),
    sleep(deadlineMs, false, { signal: late.signal }).catch(() => false),
  ])
  late.abort()
  if (answered) return undefined
  return {
    reason: 'the build server cannot reach its database and takes no pushes now',
    hint: 'push again in a moment; nothing of this push was kept',
  }
}
