// The state machine and the claim under commands that happen at once, drawn at random: `QUEUE_SEED` repeats a run.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { setQueueLimits, setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { createModel, rounds } from '../helpers/queue-model.ts'

const RUNS = Number(process.env.QUEUE_RUNS ?? 15)
const seed = Number(process.env.QUEUE_SEED ?? Date.now() % 2 ** 31)

test('whatever workers and clients do at once, no build is lost, no limit exceeded, no lease shared', async (t) => {
  t.diagnostic(`QUEUE_SEED=${seed}`)
  const database = await givenDatabase(t)
  const limits = fc.record({
    slots: fc.integer({ min: 1, max: 5 }),
    perTenant: fc.integer({ min: 1, max: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(limits, rounds, async (limit, commands) => {
      const model = await createModel(database, limit)
      for (const round of commands) {
        await model.round(round)
        await model.check()
      }
      await model.drain()
    }),
    { seed, numRuns: RUNS, endOnFailure: true },
  )
})

test('at no moment do more builds run than there are slots, nor more of a tenant than its limit', async (t) => {
  const { db } = await givenDatabase(t)
  const [slots, perTenant] = [5, 2]
  await setSlots(db, slots)
  await setQueueLimits(db, { runningPerTenant: perTenant })
  const tenants = ['acme', 'other', 'third', 'fourth']
  for (let i = 0; i < 60; i += 1) await givenBuild(db, { tenant: tenants[i % 7] ?? 'acme' })

  /** A worker that takes whatever it gets, and is never idle for long. */
  async function work(name: string): Promise<void> {
    for (let idle = 0; idle < 8; ) {
      const build = await claimNext(db, name)
      idle = build ? 0 : idle + 1
      await sleep(Math.random() * 10)
      if (!build) continue
      const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
      await lease.fail({ failureClass: 'build', error: 'no' })
    }
  }
  await Promise.all(Array.from({ length: 12 }, (_, i) => work(`w${i}`)))

  const builds = await db('builds').orderBy('claimed_at')
  assert.ok(builds.every(({ status }) => status === 'failed'))
  let most = 0
  for (const { claimed_at: moment, tenant } of builds) {
    const running = builds.filter((b) => b.claimed_at <= moment && b.completed_at > moment)
    most = Math.max(most, running.length)
    assert.ok(running.length <= slots, `${running.length} at ${moment.toISOString()}`)
    const own = running.filter((build) => build.tenant === tenant)
    assert.ok(own.length <= perTenant, `${own.length} of ${tenant}`)
  }
  assert.ok(most >= 3, `at most ${most} ran at once: the test shows nothing`)
})
