// A real PostgreSQL per test file, and a fresh migrated database per test in it.
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import pg from 'pg'
import { pino } from 'pino'
import { type Embedded, embeddedUrl, startEmbedded } from '../../server/db/embedded.ts'
import { createListener, type Listener } from '../../server/db/listen.ts'
import { migrate } from '../../server/db/migrate.ts'
import { createDb, type Db } from '../../server/db/pool.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'

export const silent = pino({ level: 'silent' })

const TEMPLATE = 'template_migrated'
let server: Promise<{ embedded: Embedded; socketDir: string; root: string }> | undefined
let count = 0

// Registered while the file loads: inside a test it would belong to that test.
after(async () => {
  if (!server) return
  const { embedded, root } = await server
  await embedded.stop()
  await removeFolder(root)
})

export interface TestDatabase {
  url: string
  db: Db
  /** Started; stopped with the test. */
  listener: Listener
}

export async function givenDatabase(t: TestContext): Promise<TestDatabase> {
  server ??= startServer()
  const { socketDir } = await server
  count += 1
  const name = `test_${count}`
  await admin(socketDir, `create database ${name} template ${TEMPLATE}`)
  const url = embeddedUrl(socketDir, name)
  const db = createDb(url)
  const listener = createListener({ url, log: silent })
  await listener.start()
  t.after(async () => {
    await listener.stop()
    await db.destroy()
  })
  return { url, db, listener }
}

/** The URL of a database without any table. */
export async function givenEmptyDatabase(t: TestContext): Promise<string> {
  server ??= startServer()
  const { socketDir } = await server
  count += 1
  const name = `empty_${count}`
  await admin(socketDir, `create database ${name}`)
  t.after(() => admin(socketDir, `drop database ${name} with (force)`))
  return embeddedUrl(socketDir, name)
}

async function startServer() {
  const parts = await testParts()
  const users = await ensureUsers()
  const root = await mkdtemp(join(tmpdir(), 'hm-pg-'))
  await chmod(root, 0o711)
  const socketDir = join(root, 's')
  const embedded = await startEmbedded({
    binDir: parts.postgresBin,
    setpriv: parts.setpriv,
    dataDir: join(root, 'data'),
    socketDir,
    user: users.db,
    log: silent,
    fsync: false,
  })
  await admin(socketDir, `create database ${TEMPLATE}`)
  const url = embeddedUrl(socketDir, TEMPLATE)
  const db = createDb(url)
  await migrate(db)
  await db.destroy()
  return { embedded, socketDir, root }
}

async function admin(socketDir: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: embeddedUrl(socketDir, 'postgres') })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
