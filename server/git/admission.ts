// pre-receive: may this push come in at all? Nothing is built here. A refusal is a reason and what to do; it
// holds for the whole push, because git asks once for all refs.
import { effectiveSettings } from '../apps/schema.ts'
import type { Db } from '../db/pool.ts'
import { AppError } from '../errors.ts'
import { inTime } from '../in-time.ts'
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
  /** Throws AppError `disk_full`. */
  requireDiskRoom(): Promise<void>
  databaseDeadlineMs?: number
}

export type Admission = ReturnType<typeof createAdmission>

export function createAdmission(options: AdmissionOptions) {
  const { db, requireRoom, requireDiskRoom } = options
  const deadlineMs = options.databaseDeadlineMs ?? DATABASE_DEADLINE_MS

  return async (push: LivePush, updates: readonly RefUpdate[]): Promise<Refusal | undefined> => {
    const rules = effectiveSettings(push.app.settings)
    let isBuilt = false
    for (const update of updates) {
      const classified = classify(update, rules)
      if (classified.kind === 'refused') return classified
      isBuilt ||= classified.kind === 'build'
    }
    return (
      (await refusalOf(requireDiskRoom())) ??
      (await refuseWithoutDatabase(db, deadlineMs)) ??
      (isBuilt ? refusalOf(requireRoom(push.app.tenant)) : undefined)
    )
  }
}

/** What an AppError says, as a refusal. */
async function refusalOf(check: Promise<void>): Promise<Refusal | undefined> {
  try {
    await check
    return undefined
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    return { reason: error.message, hint: error.hint ?? 'push again in a moment' }
  }
}

async function refuseWithoutDatabase(db: Db, deadlineMs: number): Promise<Refusal | undefined> {
  if (await inTime(db.raw('select 1'), deadlineMs).catch(() => false)) return undefined
  return {
    reason: 'the build server cannot reach its database and takes no pushes now',
    hint: 'push again in a moment; nothing of this push was kept',
  }
}
