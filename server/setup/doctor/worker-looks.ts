// What a worker on its own needs of others: the database at its version, and a server that takes its token.

import { requireMigrated } from '../../db/migrate.ts'
import { createDb } from '../../db/pool.ts'
import { HEALTH_DEADLINE_MS } from '../../limits.ts'
import { createLog } from '../../telemetry/log.ts'
import { VERSION } from '../../version.ts'
import type { WorkerConfig } from '../../worker-config.ts'
import { createRemoteServer } from '../../workers/remote-server.ts'
import type { Look } from './look.ts'

export function workerLooks({ databaseUrl, serverUrl: url, token }: WorkerConfig): Look[] {
  return [
    {
      name: 'database',
      isNeeded: true,
      repair: 'set DATABASE_URL to the database of the server',
      async look() {
        const db = createDb(databaseUrl, { poolMax: 1 })
        try {
          await requireMigrated(db)
        } finally {
          await db.destroy()
        }
        return { version: VERSION, from: new URL(databaseUrl).host }
      },
    },
    {
      name: 'server',
      isNeeded: true,
      repair: 'npm run -s token -- --worker, beside the server, prints a WORKER_TOKEN',
      async look() {
        const log = createLog('silent')
        const server = createRemoteServer({ url, token, worker: 'doctor', log, onRefused() {} })
        const deadline = AbortSignal.timeout(HEALTH_DEADLINE_MS)
        const welcome = await server.hello(deadline).catch((error) => {
          if (deadline.aborted) throw new Error(`SERVER_URL=${url} does not answer`)
          throw error
        })
        return { version: VERSION, from: url, notes: [`images: ${welcome.registry_name}`] }
      },
    },
  ]
}
