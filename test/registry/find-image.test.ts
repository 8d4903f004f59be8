// What a digest that a build pushed stands for, in a real registry.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createRegistryClient } from '../../server/registry/client.ts'
import { digestOf, MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import { bearer, buildToken, givenProxy, givenRegistry } from '../helpers/registry.ts'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const ATTESTATION = { 'vnd.docker.reference.type': 'attestation-manifest' }

async function givenHouse(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken('acme1'))
  const repo = 'builds/acme1'
  const image = (tag: string) => pushImage({ url, repo, headers }, tag).then(({ digest }) => digest)

  async function index(...manifests: object[]): Promise<string> {
    const described = manifests.map((each) => ({ mediaType: MANIFEST_TYPE, size: 1, ...each }))
    const body = JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: described })
    const digest = digestOf(body)
    const put = await fetch(`${url}/v2/${repo}/manifests/${digest}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': INDEX_TYPE },
      body,
    })
    assert.equal(put.status, 201, await put.text())
    return digest
  }
  const client = createRegistryClient({ upstream })
  return { image, index, find: (digest: string) => client.findImage(repo, digest) }
}

test('an image stands for itself, an index with attestations for its image, any other index for itself', async (t) => {
  const { image, index, find } = await givenHouse(t)
  const [one, two] = [await image('one'), await image('two')]
  assert.deepEqual(await find(one), { digest: one })
  const attested = await index({ digest: one }, { digest: two, annotations: ATTESTATION })
  assert.deepEqual(await find(attested), { digest: one, attestationsDigest: attested })
  for (const other of [
    await index({ digest: one }, { digest: two }),
    await index({ digest: one }),
    await index({ digest: one, annotations: ATTESTATION }),
  ]) {
    assert.deepEqual(await find(other), { digest: other })
  }
  assert.equal(await find(digestOf('none')), undefined)
})
