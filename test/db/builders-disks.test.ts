// Generations of a builder's disk: cloned for a build, promoted by compare and swap under its lease, or gone.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createBuilderDisks } from '../../server/builders/disks.ts'
import { createBuilderLease } from '../../server/builders/lease.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import { createBuilderTidy } from '../../server/builders/tidy.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { DIGEST, PROVENANCE } from '../helpers/fake-worker.ts'
import { testParts } from '../helpers/parts.ts'

async function givenDisks(t: TestContext) {
  const database = await givenDatabase(t)
  const { db, listener } = database
  await setSlots(db, 4)
  const root = await mkdtemp(join(tmpdir(), 'hm-builders-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const { mkfsExt4 } = await testParts()
  const disksOf = (worker: string, stamp: string, maxBytes?: number) =>
    createBuilderDisks({
      db,
      log: silent,
      root,
      worker,
      stamp,
      mkfsExt4,
      ...(maxBytes === undefined ? {} : { maxBytes }),
    })
  const disks = disksOf('w', 'image-1')
  const store = createBuilderStore({ db })
  const made = await store.insert(db, { tenant: 'acme', id: 'ci', diskSizeGb: 1 })
  const { key } = made!

  /** A claimed build of the builder, and its disk. */
  async function taken(from = disks) {
    await givenBuild(db, { builder: { key, id: 'ci', promotes: true } })
    const build = (await claimNext(db, 'w'))!
    assert.equal(build.builderKey, key)
    const disk = (await from.take(build))!
    assert.ok(disk)
    const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
    return { build, disk, lease }
  }

  /** Ends it well, with these words as the state it leaves. */
  async function finished(words: string) {
    const run = await taken()
    await writeFile(run.disk.file, words)
    assert.equal(await run.disk.beginSave(), true)
    await run.lease.markPushing()
    assert.equal(await run.lease.recordResult(DIGEST, PROVENANCE), true)
    return run
  }

  async function saved(words: string) {
    const run = await finished(words)
    assert.equal(await run.disk.promote(), true)
    await run.disk.release()
    return run
  }

  const generation = async () => (await db('builders').where({ key }).first()).generation
  const files = () => readdir(join(root, key))
  return {
    ...database,
    listener,
    root,
    key,
    store,
    disks,
    disksOf,
    taken,
    finished,
    saved,
    generation,
    files,
  }
}

test('a good build leaves the next generation, and the next build gets a clone of it', async (t) => {
  const { taken, saved, generation, files } = await givenDisks(t)
  const first = await saved('state one')
  assert.equal(first.disk.isWarm, false)
  assert.equal(await generation(), `${first.build.id}-1`)
  const { disk, lease, build } = await taken()
  assert.equal(disk.isWarm, true)
  assert.equal(await readFile(disk.file, 'utf8'), 'state one')
  assert.equal((await files()).length, 2)
  await writeFile(disk.file, 'spoilt')
  await lease.fail({ failureClass: 'build', error: 'no' })
  await disk.release()
  assert.deepEqual(await files(), [`${first.build.id}-1.img`])
  assert.notEqual(await generation(), `${build.id}-1`)
  const again = await taken()
  assert.equal(await readFile(again.disk.file, 'utf8'), 'state one')
})

test('an empty disk is an ext4 file system of the size that was asked for', async (t) => {
  const { taken } = await givenDisks(t)
  const { disk } = await taken()
  assert.equal((await stat(disk.file)).size, 1024 ** 3)
  const file = await open(disk.file, 'r')
  t.after(() => file.close())
  const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 1024 + 0x38)
  assert.equal(buffer.readUInt16LE(), 0xef53)
})

test('while its disk is saved the builder is taken, although the build has its result and its slot is free', async (t) => {
  const { db, key, finished, taken } = await givenDisks(t)
  const { build, disk } = await finished('one')
  await givenBuild(db, { builder: { key, id: 'ci', promotes: true } })
  assert.equal(await claimNext(db, 'w'), undefined)
  assert.equal((await db('slots').whereNotNull('build_id')).length, 0)
  assert.equal(build.builderPromotes, true)
  await disk.promote()
  await disk.release()
  const next = await claimNext(db, 'w')
  assert.ok(next)
  await createLease({ db, buildId: next.id, token: next.leaseToken }).fail({
    failureClass: 'build',
    error: 'no',
  })
  assert.equal((await taken()).disk.isWarm, true)
})

test('nobody promotes twice, past the deadline, after a prune, or on another generation', async (t) => {
  const { db, key, store, saved, finished, generation, disks, files } = await givenDisks(t)
  const first = await saved('one')
  const late = await finished('late')
  await db('builders').update({ saving_until: db.raw(`now() - interval '1 s'`) })
  // The deadline is over: another build takes the builder, and ends first.
  const second = await saved('two')
  assert.equal(await late.disk.promote(), false)
  await late.disk.release()
  assert.equal(await generation(), `${second.build.id}-1`)

  const other = await finished('other')
  await db('builders').update({ generation: `${first.build.id}-1` })
  assert.equal(await other.disk.promote(), false)
  await other.disk.release()

  const pruned = await finished('pruned')
  await store.prune(db, key)
  assert.equal(await pruned.disk.promote(), false)
  await pruned.disk.release()
  assert.equal(await generation(), null)
  await disks.sweep()
  assert.deepEqual(await files(), [])
})

test('promotions that race for one builder: one wins, and its file is the one that stays', async (t) => {
  const { db, key, finished, generation, files, disks } = await givenDisks(t)
  const { build, disk } = await finished('one')
  const stranger = createBuilderLease({ db, key, token: build.leaseToken })
  const results = await Promise.all([
    disk.promote(),
    stranger.promote(undefined, { name: 'stranger', worker: 'w', stamp: 'image-1', bytes: 0 }),
  ])
  assert.equal(results.filter(Boolean).length, 1)
  await disk.release()
  await disks.sweep()
  const name = await generation()
  assert.deepEqual(await files(), results[0] ? [`${name}.img`] : [])
})

test('a worker that died while it saved leaves the old generation, and no orphan after its restart', async (t) => {
  const { db, disksOf, saved, finished, generation, files, root } = await givenDisks(t)
  const first = await saved('one')
  await finished('half')
  await mkdir(join(root, 'key-of-nobody'))
  await writeFile(join(root, 'key-of-nobody', 'x.img'), 'x')
  assert.equal((await files()).length, 2)

  const restarted = disksOf('w', 'image-1')
  await reap({ db, log: silent, worker: 'w' })
  await restarted.sweep()
  assert.equal(await generation(), `${first.build.id}-1`)
  assert.deepEqual(await files(), [`${first.build.id}-1.img`])
  assert.deepEqual((await readdir(root)).length, 1)
  const [row] = await db('builders')
  assert.equal(row.lease_token, null)
})

test('a sweep leaves what builds have now', async (t) => {
  const { disks, taken, saved, files } = await givenDisks(t)
  await saved('one')
  const { disk } = await taken()
  assert.deepEqual(await disks.sweep(), [])
  assert.equal((await files()).length, 2)
  assert.equal(await readFile(disk.file, 'utf8'), 'one')
})

test('the state of another worker or another builder image is not used, and gives way', async (t) => {
  const { disksOf, saved, taken, generation } = await givenDisks(t)
  const first = await saved('one')
  const newer = disksOf('w', 'image-2')
  const { disk, lease, build } = await taken(newer)
  assert.equal(disk.isWarm, false)
  await disk.beginSave()
  await lease.markPushing()
  await lease.recordResult(DIGEST, PROVENANCE)
  assert.equal(await generation(), `${first.build.id}-1`)
  assert.equal(await disk.promote(), true)
  await disk.release()
  assert.equal(await generation(), `${build.id}-1`)
  const elsewhere = await taken(disksOf('w2', 'image-2'))
  assert.equal(elsewhere.disk.isWarm, false)
})

test('a bad generation is dropped: the next build begins with an empty disk', async (t) => {
  const { saved, taken, generation } = await givenDisks(t)
  await saved('broken')
  const { disk, lease } = await taken()
  await disk.dropBase()
  await lease.fail({ failureClass: 'infra', error: 'no' })
  await disk.release()
  assert.equal(await generation(), null)
  assert.equal((await taken()).disk.isWarm, false)
})

test('what was pruned is gone before the builder is ready, and an idle builder loses its disk', async (t) => {
  const { db, listener, key, store, disks, saved, files, generation } = await givenDisks(t)
  await saved('one')
  const tidy = createBuilderTidy({ db, listener, log: silent, disks })
  tidy.start()
  t.after(() => tidy.stop())
  await store.prune(db, key)
  const untilReady = async () => {
    while ((await db('builders').where({ key }).first()).status !== 'ready') await null
  }
  await untilReady()
  assert.deepEqual(await files(), [])

  await saved('two')
  await db('builders').update({ last_used_at: db.raw(`now() - interval '31 days'`) })
  await db.raw(`select pg_notify('hypeman_builders', '')`)
  while ((await files().catch(() => [])).length > 0) await null
  assert.equal(await generation(), null)
})

test('what a saved state takes on the host is known, and forgotten with it', async (t) => {
  const { db, key, store, saved, files, root } = await givenDisks(t)
  await saved('x'.repeat(100_000))
  const [name] = await files()
  const { blocks } = await stat(join(root, key, name!))
  const builder = async () => (await store.find('acme', 'ci'))!
  assert.equal((await builder()).diskUsedBytes, blocks * 512)
  assert.ok(blocks * 512 >= 100_000)
  await store.prune(db, key)
  assert.equal((await builder()).diskUsedBytes, 0)
})

/** Another builder with a state, last used so many hours ago. */
async function givenIdle(
  { db, store, root }: Awaited<ReturnType<typeof givenDisks>>,
  { id, hours }: { id: string; hours: number },
): Promise<string> {
  const { key } = (await store.insert(db, { tenant: 'acme', id, diskSizeGb: 1 }))!
  const file = join(root, key, 'state.img')
  await mkdir(join(root, key))
  await writeFile(file, 'x'.repeat(1024 ** 2))
  await db('builders')
    .where({ key })
    .update({
      generation: 'state',
      generation_worker: 'w',
      generation_stamp: 'image-1',
      last_used_at: db.raw(`now() - ? * interval '1 hour'`, [hours]),
    })
  return file
}

const GiB = 1024 ** 3
const exists = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  )

test('when all disks are too much together, the builders used longest ago are emptied first', async (t) => {
  const env = await givenDisks(t)
  const old = await givenIdle(env, { id: 'old', hours: 3 })
  const older = await givenIdle(env, { id: 'older', hours: 4 })
  const recent = await givenIdle(env, { id: 'recent', hours: 1 })
  const { disk } = await env.taken(env.disksOf('w', 'image-1', GiB + 1.5 * 1024 ** 2))
  assert.equal(disk.isWarm, false)
  assert.deepEqual(await Promise.all([older, old, recent].map(exists)), [false, false, true])
  const left = await env.db('builders').whereNotNull('generation').select('id')
  assert.deepEqual(left, [{ id: 'recent' }])
})

test('a disk that a build writes counts with its whole size, and builders with a build are not emptied', async (t) => {
  const env = await givenDisks(t)
  const idle = await givenIdle(env, { id: 'idle', hours: 1 })
  const disks = env.disksOf('w', 'image-1', 1.5 * GiB)
  const first = await env.taken(disks)
  const { key } = (await env.store.insert(env.db, { tenant: 'acme', id: 'two', diskSizeGb: 1 }))!
  await givenBuild(env.db, { builder: { key, id: 'two', promotes: true } })
  const second = (await claimNext(env.db, 'w'))!
  assert.equal(await disks.take(second), undefined, 'no disk, and its build goes on without')
  assert.equal(await exists(idle), false)
  assert.equal(await exists(first.disk.file), true)
  await first.disk.release()
  assert.ok(await disks.take(second))
})

test('after the limit became smaller, idle builders are emptied until it holds', async (t) => {
  const env = await givenDisks(t)
  const old = await givenIdle(env, { id: 'old', hours: 3 })
  const recent = await givenIdle(env, { id: 'recent', hours: 1 })
  const { db, listener } = env
  const disks = env.disksOf('w', 'image-1', 1.5 * 1024 ** 2)
  const tidy = createBuilderTidy({ db, listener, log: silent, disks })
  tidy.start()
  t.after(() => tidy.stop())
  while (await exists(old)) await null
  assert.equal(await exists(recent), true)
})

test('a builder that is too large and has a build does not keep a pruned one from being ready', async (t) => {
  const env = await givenDisks(t)
  const { db, listener, store, key } = env
  await givenIdle(env, { id: 'large', hours: 1 })
  const busy = { lease_token: randomUUID(), lease_until: db.raw(`now() + interval '1 hour'`) }
  await db('builders').where({ id: 'large' }).update(busy)
  await store.prune(db, key)
  const disks = env.disksOf('w', 'image-1', 1024)
  const tidy = createBuilderTidy({ db, listener, log: silent, disks })
  tidy.start()
  t.after(() => tidy.stop())
  while ((await db('builders').where({ key }).first()).status !== 'ready') await null
})
