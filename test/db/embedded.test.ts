// The database that the server brings along, when it dies alone.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { type Embedded, startEmbedded } from '../../server/db/embedded.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { silent } from '../helpers/database.ts'
import { testParts } from '../helpers/parts.ts'
import { until } from '../helpers/until.ts'

async function givenFolder(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'hm-own-pg-'))
  await chmod(root, 0o711)
  t.after(() => rm(root, { recursive: true, force: true }))
  const parts = await testParts()
  return {
    binDir: parts.postgresBin,
    setpriv: parts.setpriv,
    dataDir: join(root, 'data'),
    socketDir: join(root, 's'),
    user: (await ensureUsers()).db,
    log: silent,
  }
}

async function ask<Row>({ url }: Embedded, statement: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(statement)).rows as Row[]
  } finally {
    await client.end()
  }
}

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  test(`a database that gets ${signal} by itself comes back with everything that was committed`, async (t) => {
    const embedded = await startEmbedded(await givenFolder(t))
    try {
      await ask(embedded, 'create table kept as select 1 as n')
      const before = embedded.pid()!
      const sleeper = ask(embedded, 'select pg_sleep(60)')
      sleeper.catch(() => {})
      process.kill(before, signal)
      await assert.rejects(sleeper)
      await until(
        'another PostgreSQL to run',
        async () => embedded.pid() !== undefined && embedded.pid() !== before,
      )
      assert.deepEqual(await ask(embedded, 'select n from kept'), [{ n: 1 }])
    } finally {
      await embedded.stop()
    }
    assert.equal(embedded.pid(), undefined)
  })
}

test('a database that was stopped stays stopped, and one that cannot start says why', async (t) => {
  const options = await givenFolder(t)
  const embedded = await startEmbedded(options)
  const pid = embedded.pid()!
  await Promise.all([embedded.stop(), embedded.stop()])
  await assert.rejects(readFile(`/proc/${pid}/cmdline`))
  await writeFile(join(options.dataDir, 'postgresql.conf'), 'nonsense = 1\n')
  await assert.rejects(startEmbedded(options), /did not start: exit code 1\..*nonsense/s)
})

test('the pid file of a dead database whose number another process has by now does not keep it down', async (t) => {
  const options = await givenFolder(t)
  await (await startEmbedded(options)).stop()
  const file = join(options.dataDir, 'postmaster.pid')
  await writeFile(file, `${process.pid}\n${options.dataDir}\n1\n5432\n${options.socketDir}\n`)
  const embedded = await startEmbedded(options)
  await embedded.stop()
})
