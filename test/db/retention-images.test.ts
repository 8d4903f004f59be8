// Images that a policy does not keep, on a real registry.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { toPublic } from '../../server/builds/show.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { holding, publishLock } from '../../server/db/advisory-lock.ts'
import { createImageRetention } from '../../server/retention/images.ts'
import { bodyOf } from '../helpers/http.ts'
import { digestOf, MANIFEST_TYPE } from '../helpers/oci.ts'
import {
  givenApp,
  givenEnded,
  givenImages,
  KEEP_ALL,
  runPart,
  untilSomebodyWaits,
} from '../helpers/retention.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

async function givenHouse(t: TestContext, settings: object = {}) {
  const images = await givenImages(t)
  const { db, registry, url, headers } = images
  const retention = createImageRetention({ db, registry, settings: { ...KEEP_ALL, ...settings } })
  /** A manifest by digest, as a client would push it. */
  const put = async (repo: string, reference: string, manifest: object, type: string) => {
    const body = JSON.stringify({ schemaVersion: 2, mediaType: type, ...manifest })
    const wanted = reference === '' ? digestOf(body) : reference
    const reply = await fetch(`${url}/v2/${repo}/manifests/${wanted}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': type },
      body,
    })
    assert.equal(reply.status, 201, await reply.text())
    return { digest: digestOf(body), size: Buffer.byteLength(body) }
  }
  const shown = async (id: string) => toPublic((await createBuildStore({ db }).get(id))!, 'r')
  return { ...images, retention, put, shown }
}

test('of an app the newest images stay, the others go and their builds say so', async (t) => {
  const { db, built, isThere, retention, shown } = await givenHouse(t, { keepImages: 2 })
  const appId = await givenApp(db, 'web')
  const app = { appId, app: 'web', ref: 'refs/heads/main' }
  for (const days of [4, 3, 2, 1]) await built(`acme${days}`, { ...app, days })
  const { deleted, failures } = await runPart(retention)
  assert.deepEqual(failures, [])
  assert.deepEqual(
    deleted.map(({ kind, name, reason }) => `${kind} ${name}: ${reason}`),
    ['image acme3: not among the last 2', 'image acme4: not among the last 2'],
  )
  assert.ok(deleted.every(({ bytes = 0 }) => bytes > 1000))
  for (const [id, stays] of Object.entries({ acme1: true, acme2: true, acme3: false })) {
    assert.equal(await isThere(`builds/${id}:latest`), stays, id)
    const build = await shown(id)
    assert.equal(build.image_ref !== undefined, stays, id)
    assert.equal(build.image_expired_at === undefined, stays, id)
    assert.ok(build.image_digest)
  }
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('an app says itself how many stay, and the last image of each branch always does', async (t) => {
  const { db, built, isThere, retention } = await givenHouse(t, { keepImages: 50 })
  const appId = await givenApp(db, 'web', { retention: { keep_images: 1, max_age_days: 30 } })
  const app = { appId, app: 'web' }
  await built('acme1', { ...app, ref: 'refs/heads/main', days: 1 })
  await built('acme2', { ...app, ref: 'refs/heads/stable', days: 90 })
  await built('acme3', { ...app, ref: 'refs/heads/gone', days: 2 })
  const push = { app_id: appId, ref: 'refs/heads/gone', pusher: 'ada', source: 'push' }
  await db('pushes').insert({ ...push, old_sha: '0'.repeat(40), new_sha: 'a'.repeat(40) })
  await db('pushes').insert({ ...push, old_sha: 'a'.repeat(40), new_sha: '0'.repeat(40) })
  await runPart(retention)
  assert.equal(await isThere('builds/acme1:latest'), true)
  assert.equal(await isThere('builds/acme2:latest'), true)
  assert.equal(await isThere('builds/acme3:latest'), false)
})

test('a branch that was deleted and pushed again is there, in whatever order the server heard of it', async (t) => {
  const { db, built, isThere, retention } = await givenHouse(t, { keepImages: 1 })
  const appId = await givenApp(db, 'web')
  await built('acme1', { appId, app: 'web', ref: 'refs/heads/main', days: 1 })
  await built('acme2', { appId, app: 'web', ref: 'refs/heads/back', days: 2 })
  const push = { app_id: appId, ref: 'refs/heads/back', pusher: 'ada', source: 'push' }
  await db('pushes').insert({ ...push, seq: 8, old_sha: '0'.repeat(40), new_sha: 'a'.repeat(40) })
  await db('pushes').insert({ ...push, seq: 7, old_sha: 'b'.repeat(40), new_sha: '0'.repeat(40) })
  await runPart(retention)
  assert.equal(await isThere('builds/acme2:latest'), true)
})

test('what is fetched from a main branch elsewhere does not take the last image from another name', async (t) => {
  const { built, isThere, retention } = await givenHouse(t, { uploadDays: 30 })
  const fetched = (image_name: string, days: number) => ({
    ref: 'refs/heads/main',
    request: { repo_url: 'https://git.example.org/app', image_name },
    days,
  })
  await built('acme1', fetched('apps/acme/site:v1', 40))
  await built('acme2', fetched('apps/acme/shop:v1', 35))
  await built('acme3', fetched('apps/acme/shop:v2', 1))
  const { deleted } = await runPart(retention)
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['acme2'],
  )
  assert.equal(await isThere('apps/acme/site:v1'), true)
})

test('with an image go its attestations and what was pushed about it', async (t) => {
  const { db, push, put, isThere, retention } = await givenHouse(t, { uploadDays: 30 })
  const digest = await push('builds/acme1')
  const about = { config: { mediaType: 'x/y', digest, size: 2 }, layers: [] }
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest: digestOf('{}'), size: 2 }
  const attested = await put('builds/acme1', '', { ...about, config }, MANIFEST_TYPE)
  const manifests = [
    { mediaType: MANIFEST_TYPE, digest, size: 1 },
    { mediaType: MANIFEST_TYPE, ...attested },
  ]
  const index = await put('builds/acme1', '', { manifests }, INDEX_TYPE)
  const subject = { mediaType: MANIFEST_TYPE, digest, size: 1 }
  const signature = await put('builds/acme1', '', { config, layers: [], subject }, MANIFEST_TYPE)
  await db('referrers').insert({
    repo: 'builds/acme1',
    subject: digest,
    digest: signature.digest,
    descriptor: '{}',
  })
  await givenEnded(db, {
    id: 'acme1',
    digest,
    days: 31,
    provenance: { attestations_digest: index.digest },
  })
  await runPart(retention)
  for (const gone of [digest, attested.digest, index.digest, signature.digest]) {
    assert.equal(await isThere(`builds/acme1@${gone}`), false, gone)
  }
  assert.equal(Number((await db('referrers').count({ n: '*' }))[0]?.n), 0)
})

test('a published name goes with its image, unless the tag moved on or another name has it', async (t) => {
  const { registry, built, isThere, retention } = await givenHouse(t, { uploadDays: 30 })
  const named = (image_name: string) => ({ request: { image_name } })
  const old = await built('acme1', { ...named('apps/acme/web:v1'), days: 40 })
  const moved = await built('acme2', { ...named('apps/acme/web:prod'), days: 39 })
  const shared = await built('acme3', { ...named('apps/acme/web:v3'), days: 38 })
  const last = await built('acme4', { ...named('apps/acme/web:prod'), days: 37 })
  await registry.tag('apps/acme/web', shared, 'by-hand')
  const { deleted } = await runPart(retention)
  assert.deepEqual(deleted.map(({ name }) => name).sort(), ['acme1', 'acme2', 'acme3'])
  assert.equal(await isThere('apps/acme/web:v1'), false)
  assert.equal(await isThere(`apps/acme/web@${old}`), false)
  assert.equal(await isThere(`apps/acme/web@${moved}`), false)
  assert.equal(await isThere('apps/acme/web:by-hand'), true)
  assert.equal(await isThere(`apps/acme/web@${last}`), true)
  assert.equal(await isThere('apps/acme/web:prod'), true)
})

test('what was put into the repository of the app goes as well, with the tag of a branch that is no more', async (t) => {
  const { db, registry, built, isThere, retention } = await givenHouse(t, { keepImages: 1 })
  const appId = await givenApp(db, 'web')
  const app = { appId, app: 'web' }
  const publish = (id: string, digest: string, tag: string) =>
    registry.publish({ from: `builds/${id}`, digest, to: 'apps/acme/web', tag })
  const older = await built('acme1', { ...app, ref: 'refs/heads/main', days: 3 })
  const topic = await built('acme2', { ...app, ref: 'refs/heads/topic', days: 2 })
  const newer = await built('acme3', { ...app, ref: 'refs/heads/main', days: 1 })
  await publish('acme1', older, 'main')
  await publish('acme2', topic, 'topic')
  await publish('acme3', newer, 'main')
  const push = { app_id: appId, ref: 'refs/heads/topic', pusher: 'ada', source: 'push' }
  await db('pushes').insert({ ...push, old_sha: 'a'.repeat(40), new_sha: '0'.repeat(40) })
  const { deleted } = await runPart(retention)
  assert.deepEqual(deleted.map(({ name }) => name).sort(), ['acme1', 'acme2'])
  assert.equal(await isThere(`apps/acme/web@${older}`), false)
  assert.equal(await isThere(`apps/acme/web@${topic}`), false)
  assert.equal(await isThere('apps/acme/web:topic'), false)
  assert.equal(await isThere('apps/acme/web:main'), true)
})

test('the same image, built and published again, is not taken away with the old build', async (t) => {
  const { db, registry, built, isThere, retention } = await givenHouse(t, { uploadDays: 30 })
  const request = { image_name: 'apps/acme/web:v1' }
  const digest = await built('acme1', { request, days: 40 })
  await registry.publish({ from: 'builds/acme1', digest, to: 'builds/acme2', tag: 'latest' })
  await givenEnded(db, { id: 'acme2', request, digest, days: 1 })
  const { deleted } = await runPart(retention)
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['acme1'],
  )
  assert.equal(await isThere('apps/acme/web:v1'), true)
  assert.equal(await isThere('builds/acme2:latest'), true)
  assert.equal(await isThere('builds/acme1:latest'), false)
})

test('while an image is being published, the run waits, and sees it then', async (t) => {
  const { db, registry, built, isThere, retention } = await givenHouse(t, { uploadDays: 30 })
  const request = { image_name: 'apps/acme/web:v1' }
  const digest = await built('acme1', { request, days: 40 })
  await built('acme9', { request: { image_name: 'apps/acme/web:v9' } })
  let running: ReturnType<typeof runPart> | undefined
  await holding(db, publishLock('apps/acme/web'), async () => {
    running = runPart(retention)
    await Promise.race([untilSomebodyWaits(db), running])
    assert.equal(await isThere('apps/acme/web:v1'), true)
    // The same commit, built again: the same digest, under the same name.
    await registry.publish({ from: 'builds/acme1', digest, to: 'builds/acme2', tag: 'latest' })
    await givenEnded(db, { id: 'acme2', request, digest })
  })
  const { deleted } = await running!
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['acme1'],
  )
  assert.equal(await isThere('apps/acme/web:v1'), true)
})

test('a run that died after the registry, and one that died before it, are ended by the next', async (t) => {
  const { db, registry, built, isThere, retention } = await givenHouse(t)
  for (const id of ['acme1', 'acme2']) {
    const digest = await built(id)
    await db('builds')
      .where({ id })
      .update({ image_expired_at: db.raw('clock_timestamp()') })
    if (id === 'acme1') await registry.deleteRepository(`builds/${id}`, [digest])
  }
  const { deleted } = await runPart(retention)
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['acme1', 'acme2'],
  )
  assert.equal(await isThere('builds/acme2:latest'), false)
  assert.deepEqual(await db('builds').whereNull('image_deleted_at'), [])
  assert.deepEqual((await runPart(retention)).deleted, [])
})

test('a registry that is away keeps an image for the next run, and the others go on', async (t) => {
  const { db, registry, built, retention } = await givenHouse(t)
  await built('acme1', { appId: await givenApp(db, 'web'), app: 'web', days: 1 })
  await built('acme2', { days: 1 })
  await db('apps').delete()
  const failing = createImageRetention({
    db,
    settings: { ...KEEP_ALL, uploadDays: 0.5 },
    registry: {
      ...registry,
      deleteRepository: (repo, digests) =>
        repo === 'builds/acme1'
          ? Promise.reject(new Error('no registry'))
          : registry.deleteRepository(repo, digests),
    },
  })
  const { deleted, failures } = await runPart(failing)
  assert.deepEqual(
    deleted.map(({ name }) => name),
    ['acme2'],
  )
  assert.deepEqual(failures, [{ kind: 'image', name: 'acme1', message: 'no registry' }])
  const again = await runPart(retention)
  assert.deepEqual(again.deleted[0]?.reason, 'an earlier run did not come to its end')
})

test('what a removed app has left goes, and a dry run only says so', async (t) => {
  const { db, built, isThere, retention } = await givenHouse(t)
  const appId = await givenApp(db, 'web')
  await built('acme1', { appId, app: 'web', ref: 'refs/heads/main' })
  await db('apps').delete()
  const dry = await runPart(retention, { dryRun: true })
  assert.deepEqual(dry.deleted, [{ kind: 'image', name: 'acme1', reason: 'its app was removed' }])
  assert.equal(await isThere('builds/acme1:latest'), true)
  assert.equal((await db('builds').first()).image_expired_at, null)
  await runPart(retention)
  assert.equal(await isThere('builds/acme1:latest'), false)
})

test('a build that is not at its end keeps what it has pushed', async (t) => {
  const { db, push, use, isThere, retention } = await givenHouse(t, { uploadDays: 1 })
  const digest = await push('builds/acme1')
  await givenEnded(db, { id: 'acme1', digest, days: 5 })
  await db('builds').update({ status: 'pushing', completed_at: null, result_at: db.fn.now() })
  assert.deepEqual((await runPart(retention)).deleted, [])
  assert.equal(await isThere('builds/acme1:latest'), true)
  await db('builds').update({ status: 'ready', completed_at: db.fn.now() })
  use.pulled('builds/acme1')
  await use.settled()
  await db('builds').update({ completed_at: db.raw(`now() - interval '9 days'`) })
  assert.deepEqual((await runPart(retention)).deleted, [], 'pulled in this moment')
})

test('who pulls an image that is gone is told that it was there', async (t) => {
  const { url, headers, built, retention } = await givenHouse(t, { uploadDays: 30 })
  await built('acme1', { days: 31 })
  await runPart(retention)
  const told = async (id: string) => {
    const accept = MANIFEST_TYPE
    const reply = await fetch(`${url}/v2/builds/${id}/manifests/latest`, {
      headers: { ...headers, accept },
    })
    assert.equal(reply.status, 404)
    const [error] = (await bodyOf(reply)).errors
    assert.equal(error.code, 'MANIFEST_UNKNOWN')
    return error.message
  }
  assert.match(await told('acme1'), /^the image builds\/acme1 was removed \d{4}-.*: retention$/)
  assert.doesNotMatch(await told('acme2'), /removed/)
})

test('what a build has pushed that failed at its very end goes after a day', async (t) => {
  const { db, registry, push, built, isThere, retention } = await givenHouse(t)
  const digest = await built('acme1', { status: 'failed', days: 2 })
  await built('acme2', { status: 'failed', days: 0.5 })
  const request = { image_name: 'apps/other/stolen' }
  await db('builds')
    .where({ id: 'acme1' })
    .update({ request: JSON.stringify(request) })
  await push('apps/other/stolen', 'latest')
  await registry.publish({ from: 'builds/acme1', digest, to: 'apps/other/stolen', tag: 'own' })
  const { deleted, failures } = await runPart(retention)
  assert.deepEqual(failures, [])
  assert.equal(await isThere('apps/other/stolen:own'), true, 'of another tenant')
  assert.deepEqual(
    deleted.map(({ reason }) => reason),
    ['its build did not become ready'],
  )
  assert.equal(await isThere('builds/acme1:latest'), false)
  assert.equal(await isThere('builds/acme2:latest'), true)
  assert.equal((await db('builds').where({ id: 'acme2' }).first()).image_expired_at, null)
})
