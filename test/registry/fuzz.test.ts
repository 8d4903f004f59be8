// Whatever is sent below /v2, the answer is no 5xx, and images are pushed afterwards as before.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HOSTILE, sendRaw } from '../helpers/hostile.ts'
import { pushImage } from '../helpers/oci.ts'
import { bearer, buildToken, givenProxy, givenRegistry, operator } from '../helpers/registry.ts'

const SEED = 20_260_501
const RUNS = 300

test('whatever is sent below /v2, the answer is no 5xx', async (t) => {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const token = await operator()
  const digest = `sha256:${'a'.repeat(64)}`
  const repo = fc.constantFrom('library/node', 'builds/acme1', 'builds', ...HOSTILE)
  const word = fc.constantFrom('latest', digest, 'sha256:', 'sha512:aa', 'uploads', ...HOSTILE)
  const kind = fc.constantFrom('manifests', 'blobs', 'tags', 'referrers', 'blobs/uploads')
  const path = fc.oneof(
    fc.tuple(repo, kind, word).map(([a, b, c]) => `/v2/${a}/${b}/${c}`),
    fc
      .tuple(repo, word)
      .map(([a, b]) => `/v2/${a}/blobs/uploads/?digest=${b}&mount=${b}&from=${a}`),
    fc.tuple(repo, word).map(([a, b]) => `/v2/${a}/tags/list?n=${b}&last=${b}`),
    word.map((a) => `/v2/token?scope=${a}&service=${a}&account=${a}`),
  )
  const method = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')
  const headers = fc.record(
    {
      'content-type': fc.constantFrom(
        'application/vnd.oci.image.manifest.v1+json',
        'application/octet-stream',
        'application/x-www-form-urlencoded',
        'nonsense',
      ),
      range: fc.constantFrom('bytes=0-', 'bytes=9-1', 'nonsense'),
      'content-range': fc.constantFrom('0-10', '5-1', 'nonsense'),
    },
    { requiredKeys: [] },
  )
  const body = fc.constantFrom(undefined, '', '{}', '{"schemaVersion":2}', 'x'.repeat(5_000), '[')
  await fc.assert(
    fc.asyncProperty(method, path, headers, body, async (method, where, extra, body) => {
      const request = { method, path: where, headers: { ...extra, ...bearer(token) }, body }
      const { status } = await sendRaw(url, request)
      assert.ok(status > 0 && status < 500, `${method} ${where} answered ${status}`)
    }),
    { numRuns: RUNS, seed: SEED },
  )
  await pushImage(
    { url, repo: 'builds/acme1', headers: bearer(await buildToken('acme1')) },
    'latest',
  )
})
