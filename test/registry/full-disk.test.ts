// Blobs for a registry whose disk is full, or becomes so while they come.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { AppError } from '../../server/errors.ts'
import { digestOf, MANIFEST_TYPE, pushBlob, pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

const MiB = 1024 * 1024

/** `state.looks`: how often it is still found to have room. */
async function givenDisk(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const state = { looks: Number.POSITIVE_INFINITY }
  const { url } = await givenProxy(t, upstream, {
    async requireRoom() {
      state.looks -= 1
      if (state.looks < 0)
        throw new AppError('disk_full', 'the build server has 3 MiB of disk left')
    },
  })
  const headers = bearer(await registryAdmin())
  const target = { url, repo: 'apps/acme/web', headers }
  const begin = (query = '') =>
    fetch(`${url}/v2/${target.repo}/blobs/uploads/${query}`, { method: 'POST', headers })
  return { url, state, headers, target, begin }
}

async function assertFull(reply: Response): Promise<void> {
  assert.equal(reply.status, 507)
  assert.deepEqual(await reply.json(), {
    errors: [{ code: 'UNAVAILABLE', message: 'the build server has 3 MiB of disk left' }],
  })
}

test('a full disk takes no blob, and says so in the form of the registry’s own errors', async (t) => {
  const { url, state, headers, target, begin } = await givenDisk(t)
  const { layer, digest } = await pushImage(target, 'main')
  const location = new URL((await begin()).headers.get('location') ?? '', url)
  state.looks = 0
  await assertFull(await begin())
  const bytes = randomBytes(1000)
  await assertFull(await fetch(location, { method: 'PATCH', headers, body: bytes }))
  location.searchParams.set('digest', digestOf(bytes))
  await assertFull(await fetch(location, { method: 'PUT', headers, body: bytes }))

  const mounted = await begin(`?mount=${layer}&from=${target.repo}`)
  assert.equal(mounted.status, 201, 'what is there already takes no room')
  const manifest = await fetch(`${url}/v2/${target.repo}/manifests/${digest}`, {
    headers: { ...headers, accept: MANIFEST_TYPE },
  })
  assert.equal(manifest.status, 200, 'reads go on')
  const tagged = await fetch(`${url}/v2/${target.repo}/manifests/again`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': manifest.headers.get('content-type') ?? '' },
    body: await manifest.text(),
  })
  assert.equal(tagged.status, 201)
})

test('a disk that fills up while a blob comes ends it, and the same blob comes whole when there is room', async (t) => {
  const { url, state, headers, target, begin } = await givenDisk(t)
  const bytes = randomBytes(60 * MiB)
  for (const method of ['PATCH', 'PUT']) {
    const location = new URL((await begin()).headers.get('location') ?? '', url)
    location.searchParams.set('digest', digestOf(bytes))
    state.looks = 3
    await assertFull(await fetch(location, { method, headers, body: bytes }))
    assert.equal(state.looks, -1)
    const at = `${url}/v2/${target.repo}/blobs/${digestOf(bytes)}`
    assert.equal((await fetch(at, { method: 'HEAD', headers })).status, 404)
    state.looks = Number.POSITIVE_INFINITY
  }
  await pushBlob(target, bytes)
})

test('an upload whose data is there already is finished also when the disk is full', async (t) => {
  const { url, state, headers, begin } = await givenDisk(t)
  const bytes = randomBytes(1000)
  const first = new URL((await begin()).headers.get('location') ?? '', url)
  const sent = await fetch(first, { method: 'PATCH', headers, body: bytes })
  assert.equal(sent.status, 202)
  const next = new URL(sent.headers.get('location') ?? '', url)
  next.searchParams.set('digest', digestOf(bytes))
  state.looks = 0
  assert.equal((await fetch(next, { method: 'PUT', headers })).status, 201)
})
