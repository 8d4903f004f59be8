// A PostgreSQL of the bench's own, durable as in production, with a database per side.
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { embeddedUrl, startEmbedded } from '../../server/db/embedded.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { testParts } from '../helpers/parts.ts'
import { silent } from './busy-server.ts'

export interface OwnPostgres {
  /** Makes the database; returns its address. */
  database(name: string): Promise<string>
  stop(): Promise<void>
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const parts = await testParts()
  const { db: user } = await ensureUsers()
  const root = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  await chmod(root, 0o711)
  const socketDir = join(root, 's')
  const { postgresBin: binDir, setpriv } = parts
  const dataDir = join(root, 'data')
  const embedded = await startEmbedded({ binDir, setpriv, dataDir, socketDir, user, log: silent })
  return {
    async database(name) {
      const client = new pg.Client({ connectionString: embedded.url })
      await client.connect()
      await client.query(`create database ${name}`).finally(() => client.end())
      return embeddedUrl(socketDir, name)
    },
    async stop() {
      await embedded.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
}
