// What the pipeline makes of trouble before a guest answers: a fake of the runner, real rows around it.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBuildStore } from '../../server/builds/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import type { Runner } from '../../server/runners/runner.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { quietPipeline } from '../helpers/pipeline.ts'

const deadGuests: Runner = {
  name: 'fake',
  boundary: 'machine',
  releaseData: async () => ({}),
  unusableReason: async () => null,
  start: async ({ id }) => ({
    id,
    detail: 'fake',
    connect: async () => {
      throw new Error('nobody answers')
    },
    exited: sleep(10, { code: 1, signal: null, stopped: false }),
    console: () => '',
    stop: async () => {},
  }),
  sweep: async () => [],
  close: async () => {},
}

async function givenPipeline(t: TestContext) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const pipeline = quietPipeline({ db, listener, runner: deadGuests })
  const store = createBuildStore({ db })
  return {
    db,
    async runNext(id: string) {
      const build = await claimNext(db, 'w')
      assert.equal(build?.id, id)
      await pipeline.run(build, new AbortController().signal)
      return store.get(id)
    },
  }
}

test('a build whose guest does not come up gets one more VM, then fails as infra', async (t) => {
  const { db, runNext } = await givenPipeline(t)
  const { id } = await givenBuild(db)
  assert.equal((await runNext(id))?.status, 'queued')
  const ended = await runNext(id)
  assert.equal(ended?.status, 'failed')
  assert.equal(ended?.failureClass, 'infra')
  assert.equal(ended?.attempt, 2)
})

test('weakness 24: a build whose stored request is damaged fails and says so, it is not skipped', async (t) => {
  const { db, runNext } = await givenPipeline(t)
  const { id } = await givenBuild(db)
  await db('builds')
    .where({ id })
    .update({ request: JSON.stringify({ build_policy: 'broken' }) })
  const ended = await runNext(id)
  assert.equal(ended?.status, 'failed')
  assert.equal(ended?.failureClass, 'infra')
  assert.match(ended?.error ?? '', /stored request .* can't be understood: .*build_policy/s)
})
