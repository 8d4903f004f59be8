// Little room on the disk: no new builds, who is told, and how it ends by itself.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createClaimGuard } from '../../server/disk-guard/claims.ts'
import { createDiskGuard } from '../../server/disk-guard/guard.ts'
import { AppError } from '../../server/errors.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker } from '../../server/queue/worker.ts'
import { givenApi, type TestApiOptions } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { silent } from '../helpers/database.ts'
import { givenWorkerEntry } from '../helpers/fake-worker.ts'
import { DOCKERFILE, post, tarOf } from '../helpers/sources.ts'

const GiB = 1024 ** 3

/** An API and the guard of a worker beside it, on a disk of the test's own making. */
async function givenDisk(t: TestContext, options: TestApiOptions = {}) {
  let free = 10 * GiB
  let lows = 0
  const settings = {
    path: '/',
    floorBytes: 2 * GiB,
    freeBytes: async () => free,
    onLow: () => {
      lows += 1
    },
  }
  const api = await givenApi(t, { disk: settings, ...options })
  const { db, listener } = api
  await setSlots(db, 1)
  await givenWorkerEntry(db)
  const guard = createDiskGuard(settings)
  const { mayClaim } = createClaimGuard({ db, log: silent, worker: 'worker-a', guard })
  return {
    ...api,
    mayClaim,
    lows: () => lows,
    setFree(bytes: number) {
      free = bytes
    },
    worker(run: (build: { id: string }) => Promise<void>) {
      return createWorker({ db, listener, log: silent, name: 'worker-a', run, mayClaim })
    },
  }
}

test('below the floor no build is claimed, and its reason is in the queue; with room it goes on', async (t) => {
  const disk = await givenDisk(t)
  disk.setFree(1.2 * GiB)
  const { id } = await givenBuild(disk.db)
  let claim = (_id: string) => {}
  const claimed = new Promise<string>((resolve) => {
    claim = resolve
  })
  const worker = disk.worker(async (build) => claim(build.id))
  await worker.start()
  try {
    const shown = async () => (await (await disk.call(`/builds/${id}`)).json()) as object
    let build: { status?: string; queue_reason?: string; queue_position?: number } = {}
    while (build.queue_reason === undefined) build = await shown()
    assert.equal(build.status, 'queued')
    assert.equal(build.queue_position, 1)
    const reason = 'this server is low on disk (1.2 GiB free, 2.5 GiB needed)'
    assert.equal(build.queue_reason, reason)
    disk.setFree(3 * GiB)
    assert.equal(await claimed, id)
  } finally {
    await worker.stop()
  }
  const after = await givenBuild(disk.db)
  const reply = (await (await disk.call(`/builds/${after.id}`)).json()) as object
  assert.ok(!('queue_reason' in reply))
})

test('at the floor builds do not come and go: only clearly more room ends it', async (t) => {
  const { mayClaim, setFree, lows } = await givenDisk(t)
  const asked: [number, boolean][] = [
    [2, true],
    [1.9, false],
    [2.1, false],
    [2.4, false],
    [2.5, true],
    [2.1, true],
    [1.9, false],
  ]
  for (const [free, may] of asked) {
    setFree(free * GiB)
    assert.equal(await mayClaim(), may, `${free} GiB free`)
  }
  assert.equal(lows(), 4)
})

test('a worker that has died while its disk was low is not believed for ever', async (t) => {
  const disk = await givenDisk(t)
  disk.setFree(0)
  assert.equal(await disk.mayClaim(), false)
  await disk.db('low_disks').update({ seen_at: disk.db.raw(`now() - interval '1 minute'`) })
  assert.equal(await disk.queue.waitReason(), undefined)
})

test('health is degraded, and still 200: pulls and pushes are served', async (t) => {
  const disk = await givenDisk(t)
  const health = async () => {
    const reply = await disk.call('/health', { token: null })
    return [reply.status, await reply.json()]
  }
  assert.deepEqual(await health(), [200, { status: 'ok' }])
  disk.setFree(0.01 * GiB)
  const reason = 'this server is low on disk (under 0.1 GiB free, 2.5 GiB needed); builds wait'
  assert.deepEqual(await health(), [200, { status: 'degraded', reasons: [reason] }])
  disk.setFree(5 * GiB)
  assert.deepEqual(await health(), [200, { status: 'ok' }])
})

test('the room and whether it is too little are gauges', async (t) => {
  const disk = await givenDisk(t)
  const settings = { path: '/', floorBytes: 2 * GiB, freeBytes: async () => GiB }
  disk.metrics.watchDisk(createDiskGuard(settings).look)
  const text = await disk.metrics.prometheus()
  assert.match(text, /^hypeman_disk_free_bytes 1073741824$/m)
  assert.match(text, /^hypeman_disk_low 1$/m)
})

test('uploads that began with room enough end when there is none left, and leave nothing', async (t) => {
  let looks = 0
  const requireRoom = async () => {
    looks += 1
    if (looks > 3) throw new AppError('disk_full', 'no room')
  }
  const disk = await givenDisk(t, { requireRoom })
  const big = { name: 'model.bin' }
  const source = await tarOf(DOCKERFILE, [big, randomBytes(20 * 1024 * 1024)])
  const replies = await Promise.all(
    [1, 2].map(() => disk.call('/builds', post(['source', source]))),
  )
  const statuses = replies.map(({ status }) => status)
  assert.ok(statuses.includes(503), `${statuses}`)
  const queued = statuses.filter((status) => status === 202).length
  assert.equal((await disk.objectFiles()).length, Math.min(1, queued))
})
