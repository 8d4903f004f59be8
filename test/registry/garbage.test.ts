// The registry's garbage collection: what stays, what goes, and what pushing clients meet.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { access, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createOwnRegistry } from '../../server/registry/own/own-registry.ts'
import {
  age,
  blobStatus,
  blobsOnDisk,
  collected,
  deleteManifest,
  HOUR_MS,
  imageOf,
  indexOf,
  NO_GRACE,
  pullAll,
  pushManifest,
  putManifest,
} from '../helpers/garbage.ts'
import { digestOf, MANIFEST_TYPE, pushBlob, pushImage, type Target } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

const CONFIG = Buffer.from('{"architecture":"amd64"}')
const layer = () => randomBytes(2_000)

async function givenTargets(t: TestContext) {
  const registry = await givenRegistry(t)
  const { url } = await givenProxy(t, registry.upstream)
  const headers = bearer(await registryAdmin())
  const at = (repo: string): Target => ({ url, repo, headers })
  return { ...registry, at }
}

async function pushWhole(target: Target, layers: readonly Buffer[], tag?: string, more = {}) {
  for (const bytes of [CONFIG, ...layers]) await pushBlob(target, bytes)
  return pushManifest(target, imageOf(CONFIG, layers, more), tag)
}

test('what no manifest names any more goes with its data; the rest can be pulled whole', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const kept = await pushImage(at('apps/acme/web'), 'main')
  const gone = await pushImage(at('apps/acme/web'), 'old')
  await deleteManifest(at('apps/acme/web'), gone.digest)
  const before = (await blobsOnDisk(upstream)).size
  const result = await collected(upstream, { graces: NO_GRACE })
  assert.deepEqual(
    { ...result, stallMs: 0, stallMaxMs: 0, bytesFreed: 0 },
    {
      repositories: 1,
      skipped: 0,
      manifests: 0,
      links: 1,
      uploads: 0,
      blobsBefore: before,
      blobsAfter: before - 2,
      bytesFreed: 0,
      stallMs: 0,
      stallMaxMs: 0,
    },
  )
  assert.ok(result.bytesFreed > 1_000)
  assert.equal(await blobStatus(at('apps/acme/web'), gone.layer), 404)
  assert.ok(!(await blobsOnDisk(upstream)).has(gone.layer))
  await pullAll(at('apps/acme/web'), 'main')
  await pullAll(at('apps/acme/web'), kept.digest)
  const again = await collected(upstream, { graces: NO_GRACE })
  assert.equal(again.blobsBefore, again.blobsAfter)
})

test('a blob stays with every repository that needs it, and goes from the one that does not', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const shared = layer()
  const first = await pushWhole(at('apps/acme/a'), [shared], 'main')
  await pushWhole(at('apps/acme/b'), [shared], 'main')
  await deleteManifest(at('apps/acme/a'), first)
  await collected(upstream, { graces: NO_GRACE })
  assert.equal(await blobStatus(at('apps/acme/a'), digestOf(shared)), 404)
  await pullAll(at('apps/acme/b'), 'main')
})

test('a push that was told of a blob before the collection is whole after it', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const target = at('cache/acme/web')
  const [told, mounted, sent, forgotten] = [layer(), layer(), layer(), layer()]
  await pushWhole(target, [told, forgotten], 'latest')
  await pushWhole(at('apps/acme/web'), [mounted], 'main')
  await pushWhole(target, [], 'latest')
  await age(upstream, 9 * HOUR_MS)
  // BuildKit sends nothing for which the answer is yes.
  assert.equal(await blobStatus(target, digestOf(told)), 200)
  const query = `mount=${digestOf(mounted)}&from=apps/acme/web`
  const mount = `${target.url}/v2/${target.repo}/blobs/uploads/?${query}`
  assert.equal((await fetch(mount, { method: 'POST', headers: target.headers })).status, 201)
  await pushBlob(target, sent)
  const result = await collected(upstream)
  assert.deepEqual([result.manifests, result.links], [1, 1])
  assert.equal(await blobStatus(target, digestOf(forgotten)), 404)
  await pushManifest(target, imageOf(CONFIG, [told, mounted, sent]), 'latest')
  await pullAll(target, 'latest')
})

test('what a push was told outlives a restart of the server', async (t) => {
  const { upstream, at, dir } = await givenTargets(t)
  const target = at('cache/acme/web')
  const told = layer()
  await pushWhole(target, [told], 'latest')
  await pushWhole(target, [], 'latest')
  await age(upstream, 9 * HOUR_MS)
  assert.equal(await blobStatus(target, digestOf(told)), 200)
  const { socketPath } = upstream
  const restarted = createOwnRegistry({ socketPath, dataDir: join(dir, 'data') })
  await collected(restarted)
  await pushManifest(target, imageOf(CONFIG, [told]), 'latest')
  await pullAll(target, 'latest')
})

test('after the grace time a push is told that a blob is gone, and never ends half whole', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const target = at('apps/acme/web')
  const bytes = layer()
  await pushBlob(target, CONFIG)
  await pushBlob(target, bytes)
  await age(upstream, 7 * HOUR_MS)
  await collected(upstream)
  const late = await putManifest(target, 'main', imageOf(CONFIG, [bytes]))
  assert.equal(late.status, 400)
  assert.match(await late.text(), /MANIFEST_BLOB_UNKNOWN/)
  assert.equal(await blobStatus(target, digestOf(bytes)), 404)
  await pushWhole(target, [bytes], 'main')
  await pullAll(target, 'main')
})

test('manifests that only others name by digest stay: platforms, attestations, referrers', async (t) => {
  const { upstream, at } = await givenTargets(t)
  for (const repo of ['builds/acme1', 'apps/acme/web', 'library/node', 'cache/acme/web']) {
    const target = at(repo)
    const [amd, arm, attested, signature] = [layer(), layer(), layer(), layer()]
    const images = [imageOf(CONFIG, [amd]), imageOf(CONFIG, [arm]), imageOf(CONFIG, [attested])]
    for (const bytes of [CONFIG, amd, arm, attested, signature]) await pushBlob(target, bytes)
    for (const image of images) await pushManifest(target, image)
    const index = await pushManifest(target, indexOf(images), 'latest')
    const subject = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: index, size: 1 }
    const referrer = await pushManifest(target, imageOf(CONFIG, [signature], { subject }))
    await collected(upstream, { graces: NO_GRACE })
    await pullAll(target, 'latest')
    await pullAll(target, referrer)
  }
})

test('what a tag of a cache pointed at goes when nobody has read it for long; images by digest stay', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const digests: Record<string, string> = {}
  for (const repo of ['cache/acme/web', 'cache/acme/read', 'apps/acme/web']) {
    digests[repo] = await pushWhole(at(repo), [layer()], 'latest')
    await pushWhole(at(repo), [layer()], 'latest')
  }
  await age(upstream, 9 * HOUR_MS)
  // A build that has read a cache's manifest reads its layers when it needs them.
  const manifest = `${at('').url}/v2/cache/acme/read/manifests/${digests['cache/acme/read']}`
  const headers = { ...at('').headers, accept: MANIFEST_TYPE }
  assert.equal((await fetch(manifest, { method: 'HEAD', headers })).status, 200)
  const result = await collected(upstream)
  assert.equal(result.manifests, 1)
  await pullAll(at('cache/acme/read'), digests['cache/acme/read'] ?? '')
  await pullAll(at('apps/acme/web'), digests['apps/acme/web'] ?? '')
  await assert.rejects(pullAll(at('cache/acme/web'), digests['cache/acme/web'] ?? ''), /404/)
  for (const repo of Object.keys(digests)) await pullAll(at(repo), 'latest')
})

test('a repository with nothing in it is gone from the catalog; one below it stays', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const digest = await pushWhole(at('cache/acme/web'), [layer()], 'latest')
  await pushWhole(at('cache/acme/web/node'), [layer()], 'latest')
  await deleteManifest(at('cache/acme/web'), digest)
  await collected(upstream, { graces: NO_GRACE })
  const { url, headers } = at('')
  const catalog = await (await fetch(`${url}/v2/_catalog`, { headers })).json()
  assert.deepEqual(catalog, { repositories: ['cache/acme/web/node'] })
  await pullAll(at('cache/acme/web/node'), 'latest')
  await pushWhole(at('cache/acme/web'), [layer()], 'latest')
  await pullAll(at('cache/acme/web'), 'latest')
})

test('an upload nobody goes on with is removed; one that goes on is not', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const { url, headers } = at('')
  const begin = async () => {
    const uploads = `${url}/v2/apps/acme/web/blobs/uploads/`
    const reply = await fetch(uploads, { method: 'POST', headers })
    return new URL(reply.headers.get('location') ?? '', url)
  }
  const idle = await begin()
  await age(upstream, 25 * HOUR_MS)
  const active = await begin()
  const result = await collected(upstream)
  assert.equal(result.uploads, 1)
  const bytes = layer()
  const put = (at: URL) => {
    at.searchParams.set('digest', digestOf(bytes))
    return fetch(at, { method: 'PUT', headers, body: bytes })
  }
  assert.equal((await put(idle)).status, 404)
  assert.equal((await put(active)).status, 201)
})

test('a repository with a damaged manifest is left as it is, with all its data', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const [kept, unknown] = [layer(), layer()]
  const digest = await pushWhole(at('apps/acme/bad'), [kept], 'main')
  await pushBlob(at('apps/acme/bad'), unknown)
  await pushWhole(at('apps/acme/good'), [layer()], 'main')
  await pushBlob(at('apps/acme/good'), layer())
  const file = join(upstream.storage.blobFolder(digest), 'data')
  await writeFile(file, '{"schemaVersion": 2, "lay')
  const result = await collected(upstream, { graces: NO_GRACE })
  assert.deepEqual([result.skipped, result.links], [1, 1])
  for (const bytes of [kept, unknown]) {
    assert.equal(await blobStatus(at('apps/acme/bad'), digestOf(bytes)), 200)
  }
  await pullAll(at('apps/acme/good'), 'main')
})

test('nothing is left of what a broken-off removal left', async (t) => {
  const { upstream, at } = await givenTargets(t)
  await pushWhole(at('apps/acme/web'), [layer()], 'main')
  const { storage } = upstream
  const lost = join(storage.repository('apps/acme/web'), '_layers/sha256', 'a'.repeat(64))
  const aside = join(storage.trash, `sha256-${'b'.repeat(64)}`)
  await mkdir(lost, { recursive: true })
  await mkdir(aside, { recursive: true })
  await writeFile(join(aside, 'data'), 'x')
  await collected(upstream)
  await assert.rejects(access(lost), { code: 'ENOENT' })
  await assert.rejects(readdir(storage.trash), { code: 'ENOENT' })
  await pullAll(at('apps/acme/web'), 'main')
})
