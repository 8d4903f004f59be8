// The image of a branch: that of its newest push that is ready, whatever ends when.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { unpublished } from '../../server/builds/branch-image.ts'
import { createFinish, type FinishOptions } from '../../server/builds/finish.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease, type Lease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { unexpected } from '../../server/registry/exchange.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { PROVENANCE } from '../helpers/fake-worker.ts'
import { pushImage } from '../helpers/oci.ts'
import { givenPush, givenPushedApp } from '../helpers/pushes.ts'
import { bearer, buildToken, givenProxy, givenRegistry, member } from '../helpers/registry.ts'
import { until } from '../helpers/until.ts'

const LIMIT = { timeout: 120_000 }

async function givenBranch(t: TestContext) {
  const { db, listener } = await givenDatabase(t)
  const { upstream } = await givenRegistry(t)
  const proxy = await givenProxy(t, upstream)
  const registry = createRegistryClient({ upstream })
  await setSlots(db, 4)
  const app = await givenPushedApp(db)
  const moves: string[] = []

  const pushed = async (buildId: string, ref = 'refs/heads/main') => {
    await givenPush(db, app, { buildId, ref })
    const build = await claimNext(db, 'w')
    const lease = createLease({ db, buildId, token: build!.leaseToken })
    const headers = bearer(await buildToken(buildId))
    const { digest } = await pushImage({ url: proxy.url, repo: `builds/${buildId}`, headers }, 'x')
    return { id: buildId, lease, digest }
  }
  const start = (more: Partial<FinishOptions> = {}) => {
    const finish = createFinish({
      db,
      listener,
      log: silent,
      async tagImage(repository, digest, tag) {
        if (repository.startsWith('apps/')) moves.push(digest)
        await registry.tag(repository, digest, tag)
      },
      publishImage: registry.publish,
      tagCommit: async () => {},
      ...more,
    })
    finish.start()
    t.after(() => finish.stop())
    return finish
  }
  const ended = async (id: string) => {
    const log = createBuildLog({ db, listener })
    for await (const event of log.follow(id, 0, new AbortController().signal)) void event
    return (await createBuildStore({ db }).get(id))!
  }
  const pulled = async (tag = 'main') => {
    const accept = 'application/vnd.oci.image.manifest.v1+json'
    const headers = { ...bearer(await member('acme')), accept }
    const reply = await fetch(`${proxy.url}/v2/apps/acme/web/manifests/${tag}`, { headers })
    return reply.headers.get('docker-content-digest') ?? reply.status
  }
  return { db, registry, app, moves, pushed, start, ended, pulled }
}

async function succeed({ lease, digest }: { lease: Lease; digest: string }): Promise<void> {
  await lease.markPushing()
  assert.ok(await lease.recordResult(digest, PROVENANCE))
}

test('a build of an older push that ends later does not take the branch’s image back', async (t) => {
  const { pushed, start, ended, pulled, moves } = await givenBranch(t)
  const older = await pushed('acme1')
  const newer = await pushed('acme2')
  start()
  await succeed(newer)
  const first = await ended('acme2')
  assert.equal(first.publishedAs, 'apps/acme/web:main')
  assert.equal(await pulled(), newer.digest)
  await succeed(older)
  const late = await ended('acme1')
  assert.equal(late.status, 'ready')
  assert.equal(late.publishedAs, undefined)
  assert.equal(await pulled(), newer.digest)
  assert.deepEqual(moves, [newer.digest])
})

test('a push back to an older commit is a newer push, and each branch has its own image', async (t) => {
  const { pushed, start, ended, pulled } = await givenBranch(t)
  start()
  const builds = [
    await pushed('acme1'),
    await pushed('acme2', 'refs/heads/next'),
    await pushed('acme3'),
  ]
  for (const build of builds) {
    await succeed(build)
    await ended(build.id)
  }
  assert.equal(await pulled(), builds[2]!.digest)
  assert.equal(await pulled('next'), builds[1]!.digest)
})

test('a build that fails moves nothing, and the older one may still be published', async (t) => {
  const { pushed, start, ended, pulled } = await givenBranch(t)
  const older = await pushed('acme1')
  const newer = await pushed('acme2')
  start()
  await newer.lease.fail({ failureClass: 'build', error: 'no' })
  await succeed(older)
  assert.equal((await ended('acme1')).publishedAs, 'apps/acme/web:main')
  assert.equal(await pulled(), older.digest)
})

test('a server that dies between the row and the tag moves the tag when it is back, and nothing back', async (t) => {
  const { db, pushed, start, ended, pulled, registry, moves } = await givenBranch(t)
  const older = await pushed('acme1')
  const newer = await pushed('acme2')
  await succeed(newer)
  const dying = new Promise<void>((resolve) => {
    const finish = start({
      async tagImage(repository, digest, tag) {
        if (!repository.startsWith('apps/')) return registry.tag(repository, digest, tag)
        void finish.stop()
        resolve()
        throw new Error('the server is gone')
      },
    })
  })
  await dying
  assert.equal(await pulled(), 404)
  assert.equal((await db('builds').where({ id: 'acme2' }).first()).status, 'pushing')
  await succeed(older)
  // So that the older one is tried first.
  await db('builds')
    .where({ id: 'acme1' })
    .update({ result_at: db.raw(`clock_timestamp() - interval '1 hour'`) })
  start()
  assert.equal((await ended('acme1')).status, 'ready')
  assert.equal((await ended('acme2')).publishedAs, 'apps/acme/web:main')
  assert.equal(await pulled(), newer.digest)
  assert.deepEqual(moves, [newer.digest])
})

/** Refuses the tag of one image, in these words. */
function refusing(
  registry: { tag: FinishOptions['tagImage'] },
  refused: string,
  status: () => number,
): FinishOptions['tagImage'] {
  return async (repository, digest, tag) => {
    if (!repository.startsWith('apps/') || digest !== refused) {
      return registry.tag(repository, digest, tag)
    }
    throw unexpected('PUT', `/v2/${repository}/manifests/${tag}`, status())
  }
}

test('a build that fails for good between the row and the tag leaves the row to the build whose image the tag has', async (t) => {
  const { db, pushed, start, ended, pulled, registry } = await givenBranch(t)
  const older = await pushed('acme1')
  const newer = await pushed('acme2')
  start({ retryMs: 5, tagImage: refusing(registry, newer.digest, () => 403) })
  await succeed(older)
  await ended('acme1')
  await succeed(newer)
  const failed = await ended('acme2')
  assert.deepEqual([failed.status, failed.failureClass], ['failed', 'registry'])
  const [row, ...more] = await db('branch_images')
  assert.deepEqual([row.build_id, row.digest, more], ['acme1', older.digest, []])
  assert.notEqual(row.published_at, null)
  assert.equal(await pulled(), older.digest)
})

test(
  'a build that ends while a newer one can’t be published is its branch’s image when that one fails',
  LIMIT,
  async (t) => {
    const { db, pushed, start, ended, pulled, registry } = await givenBranch(t)
    const older = await pushed('acme1')
    const newer = await pushed('acme2')
    let status = 503
    start({ retryMs: 5, tagImage: refusing(registry, newer.digest, () => status) })
    await succeed(newer)
    await until(
      'the branch to be of the second build',
      async () => (await db('branch_images').first())?.build_id === 'acme2',
    )
    await succeed(older)
    assert.equal((await ended('acme1')).publishedAs, undefined)
    assert.equal(await pulled(), 404)
    status = 403
    assert.equal((await ended('acme2')).status, 'failed')
    await until(
      'the first build to be published',
      async () => (await ended('acme1')).publishedAs === 'apps/acme/web:main',
    )
    assert.equal(await pulled(), older.digest)
  },
)

test('a branch of which no build is ready has no image when its only build fails at its end', async (t) => {
  const { db, pushed, start, ended, registry } = await givenBranch(t)
  const only = await pushed('acme1')
  start({ retryMs: 5, tagImage: refusing(registry, only.digest, () => 403) })
  await succeed(only)
  assert.equal((await ended('acme1')).status, 'failed')
  assert.deepEqual(await db('branch_images'), [])
})

test('a build that was queued as apps/<tenant>/<app>:main before there was the app leaves its branch’s image alone', async (t) => {
  const { db, pushed, start, ended, pulled } = await givenBranch(t)
  const named = await pushed('acme1', 'refs/heads/other')
  const request = JSON.stringify({ image_name: 'apps/acme/web:main' })
  await db('builds').where({ id: 'acme1' }).update({ request, push_id: null })
  const branch = await pushed('acme2')
  start()
  await succeed(branch)
  await ended('acme2')
  await succeed(named)
  const build = await ended('acme1')
  assert.equal(build.status, 'failed')
  assert.match(build.error ?? '', /could not be published .*: there is an app web, and the tags/)
  assert.equal(await pulled(), branch.digest)
})

test('among 100,000 branches those whose tag has yet to move are found by an index', async (t) => {
  const { db } = await givenDatabase(t)
  const { id } = await givenPushedApp(db)
  await db.raw(
    `insert into branch_images (app_id, ref, push_seq, build_id, digest, published_at)
     select ?, 'refs/heads/b' || n, n, 'build' || n, 'sha256:0', case when n > 2 then now() end
     from generate_series(1, 100000) n`,
    [id],
  )
  await db.raw('analyze branch_images')
  const asked: string[] = []
  const note = ({ sql }: { sql: string }) => asked.push(sql)
  db.on('query', note)
  assert.deepEqual(await unpublished(db), [])
  db.off('query', note)
  const { rows } = await db.raw(`explain ${asked[0]}`)
  const plan = rows.map((row: Record<string, string>) => row['QUERY PLAN']).join('\n')
  assert.match(plan, /Scan using branch_images_unpublished/)
  assert.doesNotMatch(plan, /Seq Scan on branch_images/)
})
