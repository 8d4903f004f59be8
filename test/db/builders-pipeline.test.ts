// What the pipeline does with the disk of a builder: a played guest, real rows and real files.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type BuildResult, CACHE_DISK_CLEAN_NOTE, type Step } from '../../agent/protocol.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import { readEvents } from '../../server/builds/event-store.ts'
import type { BuildRequest } from '../../server/builds/request-schema.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { setSlots } from '../../server/queue/slots.ts'
import type { PodExit } from '../../server/runners/runner.ts'
import { makeBuilderWorker } from '../helpers/builder-worker.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { DIGEST } from '../helpers/fake-worker.ts'
import { goodResult, WELL } from '../helpers/played-builds.ts'
import { type Guest, type PlayedOptions, playedRunner } from '../helpers/played-guest.ts'

interface Setting extends PlayedOptions {
  result?: Partial<BuildResult>
  console?: string
  promotes?: boolean
  steps?: Step[]
}

async function given(t: TestContext) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 2)
  const root = await mkdtemp(join(tmpdir(), 'hm-builders-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const worker = await makeBuilderWorker({ db, listener, root })
  const store = createBuilderStore({ db })
  const { key } = (await store.insert(db, { tenant: 'acme', id: 'ci', diskSizeGb: 1 }))!
  const specs: Guest['spec'][] = []

  /** Claims the next build and runs it in a guest that answers with this. */
  async function run({
    result = {},
    steps = [],
    console = CACHE_DISK_CLEAN_NOTE,
    ...options
  }: Setting = {}) {
    const runner = playedRunner(
      async ({ spec, say }) => {
        specs.push(spec)
        for (const step of steps) say({ type: 'step', step })
        if (spec.cacheFile !== undefined) assert.ok(await stat(spec.cacheFile))
        say({ type: 'result', result: goodResult(result) })
      },
      console,
      { exited: Promise.resolve(WELL), ...options },
    )
    return worker.run(runner)
  }

  const queued = (promotes = true, request: BuildRequest = {}) =>
    givenBuild(db, { builder: { key, id: 'ci', promotes }, request })
  const generation = async () => (await db('builders').where({ key }).first()).generation
  const files = () => readdir(join(root, key)).catch(() => [])
  const build = async (id: string) => (await createBuildStore({ db }).get(id))!
  const lines = async (id: string) =>
    (await readEvents(db, id, 0, 100)).flatMap((event) =>
      event.type === 'log' ? [event.line] : [],
    )
  return { db, run, queued, generation, files, build, lines, specs }
}

test('a good build saves its builder after its result, and says what it found', async (t) => {
  const { run, queued, generation, lines, specs, db } = await given(t)
  const { id } = await queued()
  await run()
  assert.equal(await generation(), `${id}-1`)
  assert.ok((await lines(id)).includes('Builder ci is empty'))
  assert.equal(specs[0]?.config.cache_disk?.save, true)
  const next = await queued()
  await run()
  assert.ok((await lines(next.id)).includes('Builder ci has the state of earlier builds'))
  assert.equal((await db('builders').first()).lease_token, null)
})

test('the image is recorded before the builder is saved: nothing waits for its disk', async (t) => {
  const { run, queued, generation, build, db } = await given(t)
  const { id } = await queued()
  let end: (exit: PodExit) => void = () => {}
  const exited = new Promise<PodExit>((resolve) => {
    end = resolve
  })
  const running = run({ exited })
  while ((await build(id)).resultAt === undefined) await null
  assert.equal((await db('slots').whereNotNull('build_id')).length, 0)
  assert.equal(await generation(), null)
  end(WELL)
  await running
  assert.equal(await generation(), `${id}-1`)
})

test('a disk that was not left in good order is no generation', async (t) => {
  const { run, queued, generation, files, build } = await given(t)
  for (const setting of [
    { console: 'agent: buildkitd had to be killed' },
    { exited: Promise.resolve({ code: null, signal: 'SIGKILL', stopped: false }) },
    { result: { success: false, error: 'no', failure_class: 'build' as const } },
  ]) {
    const { id } = await queued()
    await run(setting)
    assert.notEqual((await build(id)).status, 'queued')
    assert.equal(await generation(), null)
    assert.deepEqual(await files(), [])
  }
})

test('a build that may not change its builder gets the state and leaves none', async (t) => {
  const { run, queued, generation, files, specs } = await given(t)
  const { id } = await queued()
  await run()
  await queued(false)
  await run()
  assert.equal(specs[1]?.config.cache_disk?.save, false)
  assert.equal(await generation(), `${id}-1`)
  assert.deepEqual(await files(), [`${id}-1.img`])
})

test('a build with secrets leaves no state, which would hold what its steps print', async (t) => {
  const { run, queued, generation, files, lines, specs } = await given(t)
  const { id } = await queued(true, { secrets: [{ id: 'token', optional: true }] })
  await run()
  assert.equal(specs[0]?.config.cache_disk?.save, false)
  assert.equal(await generation(), null)
  assert.deepEqual(await files(), [])
  assert.ok((await lines(id)).some((line) => /has secrets and will not change it/.test(line)))
})

test('a build that breaks on its builder is tried once more without it, and its state is dropped', async (t) => {
  const { run, queued, generation, build, specs, lines } = await given(t)
  await queued()
  await run()
  for (const failure_class of ['infra', 'disk'] as const) {
    const { id } = await queued()
    await run({ result: { success: false, failure_class, error: 'no space left' } })
    assert.equal((await build(id)).status, 'queued')
    assert.equal(await generation(), null)
    assert.equal(await run(), id)
    assert.equal(specs.at(-1)?.cacheFile, undefined)
    assert.equal((await build(id)).imageDigest, DIGEST)
    assert.ok((await lines(id)).includes('no space left; once more without the builder'))
  }
})

test('a disk that the guest could not use starts anew', async (t) => {
  const { run, queued, generation, lines, files } = await given(t)
  await queued()
  await run()
  const { id } = await queued()
  await run({ result: { cache_trouble: 'it cannot be mounted' } })
  assert.equal(await generation(), null)
  assert.deepEqual(
    (await lines(id)).filter((line) => /starts anew/.test(line)),
    ['The disk of the builder was not used, and starts anew: it cannot be mounted'],
  )
  assert.equal((await files()).length, 1) // the old one, until the next sweep
})

test('a sandbox on the host’s kernel gets no disk that a guest has written, and the log says so', async (t) => {
  const { run, queued, specs, lines } = await given(t)
  const { id } = await queued()
  await run({ boundary: 'shared kernel' })
  assert.equal(specs[0]?.cacheFile, undefined)
  assert.ok((await lines(id)).some((line) => /its disk needs a VM/.test(line)))
})

test('a build says how many of its steps were cached, and from where', async (t) => {
  const { run, queued, build, lines } = await given(t)
  const step = (n: number, state: Step['state']): Step => ({ n, name: `[${n}/2] RUN x`, state })
  const half = [step(1, 'started'), step(1, 'done'), step(2, 'cached')]
  const found = { cache: { imported: ['cache/acme/web'] } }
  const cases: [Setting, string, string][] = [
    [{ steps: [step(1, 'done')] }, 'none', 'Cache: 0 of 1 steps'],
    [{ steps: half }, 'builder', "Cache: 1 of 2 steps, from the builder's disk"],
    [
      { steps: half, result: found },
      'mixed',
      "Cache: 1 of 2 steps, from the builder's disk and the registry",
    ],
    [
      { steps: half, result: { ...found, cache_trouble: 'it is bad' } },
      'registry',
      'Cache: 1 of 2 steps, from the registry',
    ],
  ]
  for (const [setting, source, line] of cases) {
    const { id } = await queued(true, { cache_scope: 'web' })
    await run(setting)
    const cache = (await build(id)).provenance?.cache
    assert.equal(cache?.source, source)
    assert.equal(cache.steps_total, setting.steps?.at(-1)?.n)
    assert.equal((await lines(id)).filter((each) => each === line).length, 1, line)
  }
})
