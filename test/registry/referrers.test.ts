// The referrers API, which the registry behind the proxy does not have.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { digestOf, MANIFEST_TYPE, pushBlob, pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const EMPTY = 'application/vnd.oci.empty.v1+json'

interface Descriptor {
  digest: string
  mediaType: string
  size: number
  artifactType?: string
  annotations?: Record<string, string>
}

async function givenImage(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await registryAdmin())
  const target = { url, repo: 'apps/acme/web', headers }
  const image = await pushImage(target, 'main')
  const config = await pushBlob(target, Buffer.from('{}'))

  async function put(reference: string, type: string, manifest: Record<string, unknown>) {
    const body = JSON.stringify({ schemaVersion: 2, mediaType: type, ...manifest })
    const reply = await fetch(`${url}/v2/apps/acme/web/manifests/${reference || digestOf(body)}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': type },
      body,
    })
    assert.equal(reply.status, 201, await reply.text())
    return { digest: digestOf(body), size: body.length, subject: reply.headers.get('oci-subject') }
  }

  const artifact = (more: Record<string, unknown>) =>
    put('', MANIFEST_TYPE, {
      config: { mediaType: EMPTY, digest: config, size: 2 },
      layers: [],
      subject: { mediaType: MANIFEST_TYPE, digest: image.digest, size: 1 },
      ...more,
    })

  async function list(query = '', digest = image.digest) {
    const reply = await fetch(`${url}/v2/apps/acme/web/referrers/${digest}${query}`, { headers })
    const text = await reply.text()
    assert.equal(reply.status, 200, text)
    assert.equal(reply.headers.get('content-type'), INDEX_TYPE)
    const index = JSON.parse(text) as { mediaType: string; manifests: Descriptor[] }
    assert.equal(index.mediaType, INDEX_TYPE)
    return { manifests: index.manifests, headers: reply.headers }
  }

  const remove = (digest: string) =>
    fetch(`${url}/v2/apps/acme/web/manifests/${digest}`, { method: 'DELETE', headers })
  return { url, image, put, artifact, list, remove }
}

test('what refers to a manifest is listed at once, with its type and annotations', async (t) => {
  const { image, artifact, list } = await givenImage(t)
  assert.deepEqual((await list()).manifests, [])
  const annotations = { 'org.example.note': 'of \u0000 any "kind"' }
  const pushed = await artifact({ artifactType: 'application/spdx+json', annotations })
  assert.equal(pushed.subject, image.digest)
  assert.deepEqual((await list()).manifests, [
    {
      mediaType: MANIFEST_TYPE,
      digest: pushed.digest,
      size: pushed.size,
      artifactType: 'application/spdx+json',
      annotations,
    },
  ])
})

test('without an artifact type that of the config counts, and an index may refer as well', async (t) => {
  const { image, put, artifact, list } = await givenImage(t)
  await artifact({})
  const subject = { mediaType: MANIFEST_TYPE, digest: image.digest, size: 1 }
  await put('', INDEX_TYPE, { manifests: [], subject, artifactType: 'x/y' })
  const { manifests } = await list()
  const seen = manifests.map(({ mediaType, artifactType }) => [mediaType, artifactType]).sort()
  assert.deepEqual(seen, [
    [INDEX_TYPE, 'x/y'],
    [MANIFEST_TYPE, EMPTY],
  ])
})

test('a filter by artifact type says that it was applied', async (t) => {
  const { artifact, list } = await givenImage(t)
  const one = await artifact({ artifactType: 'application/one' })
  await artifact({ artifactType: 'application/two' })
  const filtered = await list('?artifactType=application/one')
  assert.deepEqual(
    filtered.manifests.map(({ digest }) => digest),
    [one.digest],
  )
  assert.equal(filtered.headers.get('oci-filters-applied'), 'artifactType')
  assert.equal((await list()).headers.get('oci-filters-applied'), null)
  assert.deepEqual((await list('?artifactType=a%00b')).manifests, [])
})

test('what was deleted is not listed any more, what is pushed again is', async (t) => {
  const { artifact, list, remove } = await givenImage(t)
  const { digest } = await artifact({ artifactType: 'application/one' })
  assert.equal((await remove(digest)).status, 202)
  assert.deepEqual((await list()).manifests, [])
  await artifact({ artifactType: 'application/one' })
  assert.equal((await list()).manifests.length, 1)
})

test('a referrer may come before the manifest it refers to', async (t) => {
  const { artifact, list } = await givenImage(t)
  const digest = digestOf('is not there')
  const subject = { mediaType: MANIFEST_TYPE, digest, size: 12 }
  assert.equal((await artifact({ subject })).subject, digest)
  assert.equal((await list('', digest)).manifests.length, 1)
})

test('a list kept under the referrers tag is part of the answer, once', async (t) => {
  const { image, put, artifact, list } = await givenImage(t)
  const known = await artifact({ artifactType: 'application/one' })
  const older = await artifact({ artifactType: 'application/two', subject: undefined })
  const entry = (digest: string, artifactType: string) => {
    return { mediaType: MANIFEST_TYPE, digest, size: 1, artifactType }
  }
  const manifests = [entry(known.digest, 'application/one'), entry(older.digest, 'application/two')]
  await put(image.digest.replace(':', '-'), INDEX_TYPE, { manifests })
  const digests = (found: Descriptor[]) => found.map(({ digest }) => digest).sort()
  assert.deepEqual(digests((await list()).manifests), [known.digest, older.digest].sort())
  const filtered = await list('?artifactType=application/two')
  assert.deepEqual(digests(filtered.manifests), [older.digest])
})

test('many referrers come in pages', async (t) => {
  const { url, artifact, list } = await givenImage(t)
  for (let n = 0; n < 101; n += 1) await artifact({ artifactType: `application/n${n}` })
  const first = await list()
  assert.equal(first.manifests.length, 100)
  const [, next = ''] = /^<(.*)>; rel="next"$/.exec(first.headers.get('link') ?? '') ?? []
  const rest = await list(new URL(next, url).search)
  assert.equal(rest.manifests.length, 1)
  assert.equal(rest.headers.get('link'), null)
})

test('a manifest that is too large is refused with a reason', async (t) => {
  const { url } = await givenImage(t)
  const reply = await fetch(`${url}/v2/apps/acme/web/manifests/big`, {
    method: 'PUT',
    headers: { ...bearer(await registryAdmin()), 'content-type': MANIFEST_TYPE },
    body: JSON.stringify({ schemaVersion: 2, filler: 'x'.repeat(4 * 1024 * 1024) }),
  })
  assert.equal(reply.status, 413)
  const { errors } = (await reply.json()) as { errors: { code: string }[] }
  assert.equal(errors[0]?.code, 'SIZE_INVALID')
})
