// Emptying a repository of a real registry, also one that is damaged.
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { test } from 'node:test'
import { createRegistryClient } from '../../server/registry/client.ts'
import { pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

test('a tag whose manifest has lost its data does not keep the rest, and is not asked for without end', async (t) => {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const target = { url, repo: 'cache/acme/web', headers: bearer(await registryAdmin()) }
  const lost = await pushImage(target, 'lost')
  await pushImage(target, 'latest')
  await rm(upstream.storage.blobFolder(lost.digest), { recursive: true })
  const registry = createRegistryClient({ upstream })
  const { count } = await registry.deleteTags(target.repo)
  assert.equal(count, 1)
  assert.equal((await registry.deleteTags(target.repo)).count, 0)
})
