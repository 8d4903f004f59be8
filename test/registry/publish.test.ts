// An image under a second name, on a real registry.
import assert from 'node:assert/strict'
import http from 'node:http'
import { type TestContext, test } from 'node:test'
import { publishImage } from '../../server/registry/publish.ts'
import { openUpstream, type RegistryUpstream } from '../../server/registry/upstream.ts'
import { digestOf, MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import {
  bearer,
  buildToken,
  givenProxy,
  givenRegistry,
  listen,
  member,
} from '../helpers/registry.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

async function givenHouse(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken('acme1'))
  const target = { url, repo: 'builds/acme1', headers }
  const get = async (path: string, token: string) =>
    fetch(`${url}/v2/${path}`, {
      headers: { accept: `${MANIFEST_TYPE}, ${INDEX_TYPE}`, ...bearer(token) },
    })
  return { upstream, target, get }
}

/** Pushes a manifest by digest. */
async function pushManifest(target: { url: string; repo: string; headers: object }, body: string) {
  const digest = digestOf(body)
  const put = await fetch(`${target.url}/v2/${target.repo}/manifests/${digest}`, {
    method: 'PUT',
    headers: { ...target.headers, 'content-type': INDEX_TYPE },
    body,
  })
  assert.equal(put.status, 201, await put.text())
  return digest
}

const as = (digest: string) => ({ from: 'builds/acme1', digest, to: 'apps/acme/web', tag: 'v1' })

test('an image is published with its blobs, for its tenant and nobody else, and twice is fine', async (t) => {
  const { upstream, target, get } = await givenHouse(t)
  const { digest, layer } = await pushImage(target, 'latest')
  await publishImage(upstream, as(digest))
  await publishImage(upstream, as(digest))
  const token = await member('acme')
  const pulled = await get('apps/acme/web/manifests/v1', token)
  assert.equal(pulled.status, 200)
  assert.equal(pulled.headers.get('docker-content-digest'), digest)
  assert.equal((await get(`apps/acme/web/blobs/${layer}`, token)).status, 200)
  assert.equal((await get('apps/acme/web/manifests/v1', await member('other'))).status, 401)
})

test('an index is published with the images it names', async (t) => {
  const { upstream, target, get } = await givenHouse(t)
  const images = [await pushImage(target, 'a'), await pushImage(target, 'b')]
  const manifests = images.map(({ digest }) => ({ mediaType: MANIFEST_TYPE, digest, size: 1 }))
  const index = JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests })
  await publishImage(upstream, as(await pushManifest(target, index)))
  const token = await member('acme')
  assert.equal(await (await get('apps/acme/web/manifests/v1', token)).text(), index)
  for (const { digest, layer } of images) {
    assert.equal((await get(`apps/acme/web/manifests/${digest}`, token)).status, 200)
    assert.equal((await get(`apps/acme/web/blobs/${layer}`, token)).status, 200)
  }
})

test('a registry that does not mount gets the blobs carried over', async (t) => {
  const { upstream, target, get } = await givenHouse(t)
  const { digest, layer } = await pushImage(target, 'latest')
  const url = await listen(
    t,
    http.createServer((req, res) => void withoutMount(upstream, req, res)),
  )
  const plain = {
    kind: 'url',
    url: `${url}/hub`,
    username: undefined,
    password: undefined,
  } as const
  await publishImage(plain, as(digest))
  const token = await member('acme')
  assert.equal((await get('apps/acme/web/manifests/v1', token)).status, 200)
  const blob = Buffer.from(await (await get(`apps/acme/web/blobs/${layer}`, token)).arrayBuffer())
  assert.equal(digestOf(blob), layer)
})

test('what is no image there can be is refused for good, what is not there now may come', async (t) => {
  const { upstream } = await givenHouse(t)
  const digest = `sha256:${'0'.repeat(64)}`
  await assert.rejects(publishImage(upstream, as(digest)), { code: 'registry_unavailable' })
  await assert.rejects(publishImage(upstream, as('../x')), { code: 'invalid_request' })
  await assert.rejects(publishImage(upstream, { ...as(digest), to: 'a/../b' }), {
    code: 'invalid_request',
  })
})

/** The same registry below /hub, deaf to `mount=`. */
async function withoutMount(
  upstream: RegistryUpstream,
  req: http.IncomingMessage,
  res: http.ServerResponse,
): Promise<void> {
  const url = new URL(req.url ?? '', 'http://x')
  url.searchParams.delete('mount')
  url.searchParams.delete('from')
  const reply = await openUpstream(upstream, {
    method: req.method ?? 'GET',
    path: `${url.pathname.replace(/^\/hub/, '')}${url.search}`,
    headers: req.headers,
    body: req.method === 'GET' ? undefined : req,
    signal: new AbortController().signal,
  })
  const { location } = reply.headers
  const moved = location ? { location: location.replace(/^(http:\/\/[^/]+)?/, '/hub') } : {}
  res.writeHead(reply.statusCode ?? 502, { ...reply.headers, ...moved })
  reply.pipe(res)
}

test('an image with a layer that is only linked is taken and published; a link nobody could follow is 400, not 500', async (t) => {
  const { upstream, target, get } = await givenHouse(t)
  const { layer } = await pushImage(target, 'latest')
  const manifestOf = (...urls: string[]) =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOf('{}'),
        size: 2,
      },
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: layer, size: 1000 },
        {
          mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
          digest: `sha256:${'7'.repeat(64)}`,
          size: 5,
          urls,
        },
      ],
    })
  const put = (body: string) =>
    fetch(`${target.url}/v2/${target.repo}/manifests/linked`, {
      method: 'PUT',
      headers: { ...target.headers, 'content-type': MANIFEST_TYPE },
      body,
    })
  for (const wrong of [
    'ftp://example.com/x',
    'file:///etc/passwd',
    'https://example.com/#x',
    '/x',
  ]) {
    const refused = await put(manifestOf('https://example.com/layer', wrong))
    const { errors } = (await refused.json()) as { errors: { code: string; message: string }[] }
    assert.deepEqual([refused.status, errors[0]?.code], [400, 'MANIFEST_INVALID'], wrong)
    assert.ok(errors[0]?.message.includes(JSON.stringify(wrong)), errors[0]?.message)
  }
  const right = manifestOf('https://example.com/layer')
  assert.equal((await put(right)).status, 201)
  await publishImage(upstream, as(digestOf(right)))
  const pulled = await get('apps/acme/web/manifests/v1', await member('acme'))
  assert.equal(await pulled.text(), right)
})
