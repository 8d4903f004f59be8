// What an operator may know and ask of workers.
import type { Principal } from '../auth/principal.ts'
import type { Db } from '../db/pool.ts'
import { notFound } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { createWorkerStore, type WorkerRow } from './store.ts'

export type Workers = ReturnType<typeof createWorkers>

export function createWorkers({ db, log }: { db: Db; log: Log }) {
  const store = createWorkerStore({ db })

  async function list(id?: string): Promise<WorkerRow[]> {
    const all = await store.list()
    return id === undefined ? all : all.filter((worker) => worker.id === id)
  }

  return {
    list,

    /** Throws `not_found` for a worker that is not there. */
    async drain(
      { user }: Principal,
      { worker, seconds }: { worker?: string | undefined; seconds: number },
    ): Promise<WorkerRow[]> {
      const asked = await store.requestDrain(worker, seconds)
      if (worker !== undefined && asked === 0) throw notFound('worker')
      log.info({ user, worker, seconds, asked }, 'drain asked for')
      return list(worker)
    },

    /** Throws `not_found` for a worker that is not there. */
    async resume({ user }: Principal, worker?: string): Promise<WorkerRow[]> {
      const asked = await store.endDrain(worker)
      if (worker !== undefined && asked === 0) throw notFound('worker')
      log.info({ user, worker, asked }, 'drain ended')
      return list(worker)
    },
  }
}
