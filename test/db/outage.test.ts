// A database that is away for a while: builds go on, nothing is written twice, and nobody is taken for dead.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { appendEvents, readEvents } from '../../server/builds/event-store.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { untilDatabase } from '../../server/db/gone.ts'
import { createListener } from '../../server/db/listen.ts'
import { createDb } from '../../server/db/pool.ts'
import { createLogWriter } from '../../server/pipeline/log-writer.ts'
import { startWatchdog } from '../../server/pipeline/watchdog.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { createReapLoop } from '../../server/queue/reap-loop.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { cuttable } from '../helpers/cut-database.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { until } from '../helpers/until.ts'

test('lines whose write was done and whose answer was lost are in the log once, and in order', async (t) => {
  const database = await givenDatabase(t)
  const way = await cuttable(t, database.url)
  const db = createDb(way.url)
  try {
    await setSlots(database.db, 1)
    const { id } = await givenBuild(database.db)
    const build = (await claimNext(db, 'w'))!
    const { append } = createLease({ db, buildId: id, token: build.leaseToken })
    let failures = 0
    const counted: typeof append = (events, batch) =>
      append(events, batch).catch((error) => {
        failures += 1
        throw error
      })
    const writer = createLogWriter({ append: counted, retryMs: 20 })
    const line = (text: string) => writer.write({ type: 'log', line: text })
    await line('before')
    const lines = async () =>
      (await readEvents(database.db, id, 0, 100)).flatMap((event) =>
        event.type === 'log' ? [event.line] : [],
      )
    await until('the first line', async () => (await lines()).length === 1)
    way.loseAnswers()
    await line('during 1')
    await line('during 2')
    await until('a first failure', () => failures > 0)
    await line('during 3')
    await way.cut()
    await line('without anybody')
    const before = failures
    await until('one more failure', () => failures > before)
    await way.restore()
    await line('after')
    await writer.close()
    const expected = ['before', 'during 1', 'during 2', 'during 3', 'without anybody', 'after']
    assert.deepEqual(await lines(), expected)
  } finally {
    await db.destroy()
  }
})

test('after the database was away, leases that ran out meanwhile are not taken back before they can be renewed', async (t) => {
  const database = await givenDatabase(t)
  const way = await cuttable(t, database.url)
  const db = createDb(way.url)
  const reaper = createReapLoop({ db, log: silent, intervalMs: 50, graceMs: 1_500 })
  try {
    await setSlots(database.db, 2)
    await givenBuild(database.db)
    await givenBuild(database.db)
    const living = (await claimNext(database.db, 'living'))!
    const dead = (await claimNext(database.db, 'dead'))!
    reaper.start()
    await way.cut()
    await new Promise((resolve) => setTimeout(resolve, 200))
    await database.db('builds').update({ lease_until: database.db.raw(`now() - interval '1 s'`) })
    await way.restore()
    const { heartbeat } = createLease({
      db: database.db,
      buildId: living.id,
      token: living.leaseToken,
    })
    const statusOf = async (id: string) =>
      (await database.db('builds').where({ id }).first()).status
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.equal((await heartbeat()).held, true)
    await until(
      'the build of the dead worker to be queued',
      async () => (await statusOf(dead.id)) === 'queued',
    )
    assert.equal(await statusOf(living.id), 'building')
  } finally {
    await reaper.stop()
    await db.destroy()
  }
})

test('a build goes on past its lease while the database is away, but not forever', async (t) => {
  const { build, database, poke } = await givenRunning(t)
  const lease = createLease({ db: database.db, buildId: build.id, token: build.leaseToken })
  const answers = [lease.heartbeat]
  let asked = 0
  const failing: typeof lease = {
    ...lease,
    async heartbeat() {
      asked += 1
      const answer = answers.shift()
      if (!answer) throw new Error('nobody answers')
      return answer()
    },
  }
  let ahead = 0
  const now = performance.now.bind(performance)
  t.mock.method(performance, 'now', () => now() + ahead)
  const awayMaxMs = 600_000
  const watch = startWatchdog({ ...watching(database), lease: failing, awayMaxMs })
  try {
    await poke()
    await until('the lease to be asked for', () => asked === 1)
    await poke()
    await until('the lease to be asked for again', () => asked === 2)
    assert.equal(watch.reason, undefined)
    ahead = awayMaxMs + 1
    await poke()
    await until('the watchdog to say why', () => watch.reason !== undefined)
    assert.equal(watch.reason, 'lease_lost')
  } finally {
    watch.close()
  }
})

test('a cancel that comes while a heartbeat is on its way is heard with the next one, at once', async (t) => {
  const { build, database, poke } = await givenRunning(t)
  const lease = createLease({ db: database.db, buildId: build.id, token: build.leaseToken })
  const answer = new AbortController()
  let asked = 0
  const slow: typeof lease = {
    ...lease,
    async heartbeat() {
      asked += 1
      if (asked > 1) return { held: true, cancelRequested: true }
      await once(answer.signal, 'abort')
      return { held: true, cancelRequested: false }
    },
  }
  let heard = 0
  const off = database.listener.on('hypeman_build', (payload) => {
    if (payload === `cancel:${build.id}`) heard += 1 // the claim has something to say as well
  })
  const interval = t.mock.method(globalThis, 'setInterval', () => undefined)
  const watch = startWatchdog({ ...watching(database), lease: slow })
  interval.mock.restore()
  try {
    await poke()
    await until('the first heartbeat', () => asked === 1)
    await poke()
    await until('both notices', () => heard === 2)
    answer.abort()
    await until('the second heartbeat', () => asked === 2)
    await until('the cancel', () => watch.reason === 'cancel')
  } finally {
    watch.close()
    off()
  }
})

async function givenRunning(t: TestContext) {
  const database = await givenDatabase(t)
  await setSlots(database.db, 1)
  await givenBuild(database.db)
  const build = (await claimNext(database.db, 'w'))!
  const poke = () => database.db.raw(`select pg_notify('hypeman_build', ?)`, [`cancel:${build.id}`])
  return { build, database, poke }
}

function watching({ listener }: Awaited<ReturnType<typeof givenDatabase>>) {
  return { listener, log: silent, timeoutMs: 600_000, drain: new AbortController().signal }
}

test('a connection that the database has ended puts no line on stdout, which has the ready line alone', async (t) => {
  const way = await cuttable(t, (await givenDatabase(t)).url)
  const printed = t.mock.method(console, 'log', () => {})
  const db = createDb(way.url)
  try {
    await db.raw('select 1')
    await way.cut()
    await way.restore()
    const late = AbortSignal.timeout(30_000)
    await untilDatabase(async () => db.raw('select 1'), late)
    assert.deepEqual(printed.mock.calls, [])
  } finally {
    await db.destroy()
  }
})

test('a follower misses no line while the database is away, and leaves at once when he wants to', async (t) => {
  const database = await givenDatabase(t)
  const way = await cuttable(t, database.url)
  const db = createDb(way.url)
  const listener = createListener({ url: way.url, log: silent })
  await listener.start()
  try {
    const { id } = await givenBuild(database.db)
    const { follow, followed } = createBuildLog({ db, listener })
    const leaving = new AbortController()
    const seen: string[] = []
    const read = async (signal: AbortSignal) => {
      for await (const event of follow(id, 0, signal)) {
        if (event.type === 'log') seen.push(event.line)
      }
    }
    const say = (line: string) => appendEvents(database.db, id, [{ type: 'log', line }])
    const reading = read(leaving.signal)
    await say('before')
    await until('the first event', () => seen.length === 1)
    await way.cut()
    await say('while it is away')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await way.restore()
    await say('after')
    await until('three events', () => seen.length === 3)
    assert.deepEqual(seen, ['before', 'while it is away', 'after'])
    await way.cut()
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    leaving.abort()
    await reading
    assert.equal(followed(), 0)
  } finally {
    await listener.stop()
    await db.destroy()
  }
})
