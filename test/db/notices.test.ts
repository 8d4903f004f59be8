// Notifications are told after the commit they tell of, and cost no other commit its time.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents } from '../../server/builds/event-store.ts'
import { notify } from '../../server/db/notices.ts'
import { createDb, type Db, rows } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, type TestDatabase } from '../helpers/database.ts'

/** While the work goes on, a commit that must be on disk waits as on a very slow one. */
async function onSlowDisk(db: Db, work: () => Promise<void>): Promise<void> {
  const set = async (standby: string) => {
    await db.raw(`alter system set synchronous_standby_names = '${standby}'`)
    await db.raw('select pg_reload_conf()')
  }
  await set('nobody')
  try {
    await work()
  } finally {
    await set('')
  }
}

async function isCommitWaiting(db: Db): Promise<boolean> {
  const found = await rows(
    db,
    `select 1 from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()`,
  )
  return found.length > 0
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(10)
}

/** Resolves with the payloads heard so far, once the last one is among them. */
function heard({ listener }: TestDatabase, last: string) {
  const payloads: string[] = []
  const all = new EventTarget()
  listener.on('hypeman_build', (payload) => {
    payloads.push(payload)
    if (payload === last) all.dispatchEvent(new Event('last'))
  })
  return once(all, 'last').then(() => payloads)
}

test('a commit that waits for the disk holds up no claim and no log of another build', async (t) => {
  const { db, url } = await givenDatabase(t)
  const hasty = createDb(`${url}&options=${encodeURIComponent('-c lock_timeout=10s')}`)
  t.after(() => hasty.destroy())
  await setSlots(db, 2)
  const [slow, fast] = [await givenBuild(db), await givenBuild(db)]
  const line = [{ type: 'log' as const, line: 'a line' }]
  const appendDurably = () =>
    db.transaction(async (trx) => {
      await trx.raw('set local synchronous_commit = on')
      await appendEvents(trx, slow.id, line)
    })
  let late: Promise<void> | undefined
  await onSlowDisk(db, async () => {
    await until(async () => {
      late ??= appendDurably().finally(() => {
        late = undefined
      })
      return isCommitWaiting(db)
    })
    await appendEvents(hasty, fast.id, line)
    const claimed = await claimNext(hasty, 'w1')
    assert.equal(claimed?.id, fast.id, 'the commit that waits has the other one locked')
  })
  await late
})

test('what a transaction that is rolled back has to say is never heard', async (t) => {
  const database = await givenDatabase(t)
  const { db } = database
  const payloads = heard(database, 'last')
  await assert.rejects(
    db.transaction(async (trx) => {
      notify(trx, 'hypeman_build', 'never')
      await trx.raw('select 1 / 0')
    }),
  )
  await db.transaction(async (trx) => notify(trx, 'hypeman_build', 'kept'))
  notify(db, 'hypeman_build', 'last')
  assert.deepEqual((await payloads).toSorted(), ['kept', 'last'])
})
