// Is the server able to do its work? Asked by load balancers and by people, so it never waits long.
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { HEALTH_DEADLINE_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'

export type Health = ReturnType<typeof createHealth>

export function createHealth({ db, log }: { db: Db; log: Log }) {
  return {
    /** What does not answer; empty when all is well. */
    async down(): Promise<string[]> {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        const error = new Error(`no answer within ${HEALTH_DEADLINE_MS} ms`)
        timer = setTimeout(() => reject(error), HEALTH_DEADLINE_MS)
      })
      const asked = Promise.resolve(db.raw('select 1'))
      try {
        await Promise.race([asked, late])
        return []
      } catch (error) {
        log.warn({ err: asError(error).message }, 'database does not answer')
        asked.catch(() => {}) // reported already
        return ['database']
      } finally {
        clearTimeout(timer)
      }
    },
  }
}
