// The end of a build on the server side: what must be there before it is said to be ready.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Finish, FinishOptions } from '../../server/builds/finish.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { toPublic } from '../../server/builds/show.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { publishLock, tryHolding } from '../../server/db/advisory-lock.ts'
import { FINISH_REFUSALS_MAX } from '../../server/limits.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createLease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { unexpected } from '../../server/registry/exchange.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { givenFinish } from '../helpers/finish.ts'
import { pushImage } from '../helpers/oci.ts'
import { bearer, buildToken, givenProxy, givenRegistry, member } from '../helpers/registry.ts'

const PROVENANCE = { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' }

async function givenResult(t: TestContext, image_name: string) {
  const { db, listener } = await givenDatabase(t)
  const { upstream } = await givenRegistry(t)
  const proxy = await givenProxy(t, upstream)
  const registry = createRegistryClient({ upstream })
  await setSlots(db, 1)
  await givenBuild(db, { id: 'acme1', request: { image_name } })
  const headers = bearer(await buildToken('acme1'))
  const { digest } = await pushImage({ url: proxy.url, repo: 'builds/acme1', headers }, 'x')
  const build = await claimNext(db, 'w')
  const lease = createLease({ db, buildId: 'acme1', token: build!.leaseToken })
  await lease.markPushing()
  await lease.recordResult(digest, PROVENANCE)
  const { tag: tagImage, publish: publishImage } = registry
  const finishWith = (more: Partial<FinishOptions> = {}): Finish =>
    givenFinish(t, { db, listener, tagImage, publishImage, ...more })
  /** Waits for the end; the build as it is shown at that moment. */
  const ended = async () => {
    const log = createBuildLog({ db, listener })
    for await (const event of log.follow('acme1', 0, new AbortController().signal)) void event
    return toPublic((await createBuildStore({ db }).get('acme1'))!, proxy.host)
  }
  return { db, proxy, registry, digest, finishWith, ended }
}

test('weaknesses 17 and 18: a build that is ready has an image_ref that can be pulled, under the name that was asked for', async (t) => {
  const { db, proxy, registry, digest, finishWith, ended } = await givenResult(
    t,
    'apps/acme/web:v1',
  )
  let tries = 0
  finishWith({
    async publishImage(publication) {
      tries += 1
      const taken = await tryHolding(db, publishLock(publication.to), async () => 'free')
      assert.equal(taken, undefined, 'retention waits until it is published')
      if (tries === 1) throw new Error('the registry is away')
      await registry.publish(publication)
    },
  })
  const build = await ended()
  assert.equal(build.status, 'ready', build.error)
  assert.equal(build.image_ref, `${proxy.host}/apps/acme/web:v1`)
  assert.equal(tries, 2)
  const token = await member('acme')
  for (const path of ['apps/acme/web/manifests/v1', 'builds/acme1/manifests/latest']) {
    const headers = { ...bearer(token), accept: 'application/vnd.oci.image.manifest.v1+json' }
    const pulled = await fetch(`${proxy.url}/v2/${path}`, { headers })
    assert.equal(pulled.status, 200, path)
    assert.equal(pulled.headers.get('docker-content-digest'), digest)
  }
})

test('a name that can never be published fails the build instead of being tried for ever', async (t) => {
  const { finishWith, ended } = await givenResult(t, 'apps/other/web')
  finishWith()
  const build = await ended()
  assert.equal(build.status, 'failed')
  assert.equal(build.failure_class, 'registry')
  assert.match(build.error ?? '', /could not be published as apps\/other\/web: invalid image_name/)
  assert.equal(build.image_ref, undefined)
})

test('a registry that refuses the name for good fails the build, after it was asked some times and not for ever', async (t) => {
  const { registry, finishWith, ended } = await givenResult(t, 'apps/acme/web')
  const at: number[] = []
  const finish = finishWith({
    retryMs: 20,
    async publishImage() {
      at.push(performance.now())
      throw unexpected('PUT', '/v2/apps/acme/web/manifests/latest', 403)
    },
    tagImage: registry.tag,
  })
  const build = await ended()
  assert.equal(build.status, 'failed')
  assert.equal(build.failure_class, 'registry')
  assert.match(build.error ?? '', /published as apps\/acme\/web: the registry answered 403 to PUT/)
  assert.equal(at.length, FINISH_REFUSALS_MAX)
  const waits = at.slice(1).map((time, n) => time - at[n]!)
  assert.ok(waits.at(-1)! > 2 * 20, 'tries get rarer')
  await finish.stop()
})

test('a registry that is too busy, or does not know us, is asked until it takes the image', async (t) => {
  const { registry, finishWith, ended } = await givenResult(t, 'apps/acme/web')
  const answers = [429, 503, 401, 404, 403, 408]
  const finish = finishWith({
    retryMs: 5,
    async publishImage(publication) {
      const status = answers.shift()
      if (status !== undefined) throw unexpected('PUT', '/v2/x', status)
      await registry.publish(publication)
    },
  })
  assert.equal((await ended()).status, 'ready')
  assert.deepEqual(answers, [])
  await finish.stop()
})
