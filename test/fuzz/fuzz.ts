// `npm run fuzz [-- EXAMPLES [SEED]]`: the REST face over a real database, with a worker that ends builds
// without a VM, against schemathesis: no 5xx, and no answer that /openapi.json does not have.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker } from '../../server/queue/worker.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { silent } from '../helpers/database.ts'
import { jsonBody } from '../helpers/http.ts'
import { fuzz } from './schemathesis.ts'

const EXAMPLES = Number(process.argv[2] ?? 100)
const SEED = Number(process.argv[3] ?? Math.floor(Math.random() * 1e9))
const BUILD_MS = 200

test(`nothing but documented answers, seed ${SEED}`, async (t) => {
  for (const operator of [false, true]) {
    await t.test(operator ? 'to an operator' : 'to a tenant', async (t) => {
      const api = await givenApi(t)
      await startWorker(t, api)
      await fill(api)
      const token = await api.token({ admin: operator })
      const code = await fuzz({ url: api.url, token, operator, examples: EXAMPLES, seed: SEED })
      assert.equal(code, 0, `see above; once more: npm run fuzz -- ${EXAMPLES} ${SEED}`)
    })
  }
})

/** Builds end by themselves, in all ways, so that no follower waits for ever. */
async function startWorker(t: TestContext, { db, listener }: TestApi): Promise<void> {
  await setSlots(db, 4)
  let count = 0
  const worker = createWorker({
    db,
    listener,
    log: silent,
    name: 'fuzz',
    async run(build) {
      const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
      await lease.markHello()
      await lease.append([{ type: 'log', line: 'a line' }])
      await sleep(BUILD_MS)
      count += 1
      const beat = await lease.heartbeat()
      if (beat.cancelRequested) await lease.cancelled()
      else await lease.fail({ failureClass: count % 2 ? 'build' : 'oom', error: 'as it happens' })
    },
  })
  await worker.start()
  t.after(() => worker.stop())
}

/** What the examples of the document name is really there. */
async function fill(api: TestApi): Promise<void> {
  for (const name of ['hello', 'web']) {
    const reply = await api.call('/apps', jsonBody('POST', { name }))
    assert.equal(reply.status, 201)
  }
  await givenBuild(api.db, { id: 'v8xx8ycar6vvro8uxr9b7e9e', app: 'hello' })
  for (let i = 0; i < 5; i += 1) await givenBuild(api.db)
  while ((await api.db('builds').where({ completed_at: null })).length > 0) await sleep(50)
}
