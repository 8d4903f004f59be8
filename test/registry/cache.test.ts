// Who reaches which cache in a real registry, with the tokens that builds are really given; and dropping one.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { BuildRequest } from '../../server/builds/request-schema.ts'
import { cacheAccess, cachePlan } from '../../server/cache/plan.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, tokens } from '../helpers/registry.ts'

const GLOBAL = 'cache/global/node'

async function givenHouse(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const tokenOf = (tenant: string, request: BuildRequest) =>
    tokens.mintRegistry({
      buildId: `${tenant}1`,
      tenant,
      access: cacheAccess(cachePlan(tenant, request)),
      leaseHash: `lease-of-${tenant}1`,
      ttlSeconds: 600,
    })
  const push = async (token: string, repo: string) =>
    pushImage({ url, repo, headers: bearer(token) }, 'latest')
  const pull = async (token: string, repo: string) => {
    const headers = { ...bearer(token), accept: MANIFEST_TYPE }
    return (await fetch(`${url}/v2/${repo}/manifests/latest`, { headers })).status
  }
  return { client: createRegistryClient({ upstream }), tokenOf, push, pull }
}

test('weakness 1: the global cache is filled by an admin’s build; a tenant’s reads it and can’t write it', async (t) => {
  const { tokenOf, push, pull } = await givenHouse(t)
  const admin = await tokenOf('ops', { is_admin_build: true, global_cache_key: 'node' })
  const tenant = await tokenOf('acme', { global_cache_key: 'node', cache_scope: 'web' })
  await push(admin, GLOBAL)
  assert.equal(await pull(tenant, GLOBAL), 200)
  await assert.rejects(push(tenant, GLOBAL), /401/)
  await push(tenant, 'cache/acme/web')
  await assert.rejects(push(admin, 'cache/acme/web'), /401/)
})

test('weakness 2: no scope of another tenant is reached, and no other one of the own', async (t) => {
  const { tokenOf, push, pull } = await givenHouse(t)
  const acme = await tokenOf('acme', { cache_scope: 'web' })
  const other = await tokenOf('other', { cache_scope: 'web' })
  await push(acme, 'cache/acme/web')
  for (const repo of ['cache/acme/web', 'cache/acme', GLOBAL, 'cache/other/api']) {
    assert.equal(await pull(other, repo), 401, repo)
    await assert.rejects(push(other, repo), /401/, repo)
  }
  assert.equal(await pull(acme, 'cache/acme/web/nodejs20'), 401)
})

test('a cache that is dropped is gone with all its tags, and none is fine', async (t) => {
  const { client, tokenOf, push, pull } = await givenHouse(t)
  const token = await tokenOf('acme', { cache_scope: 'web' })
  const { digest } = await push(token, 'cache/acme/web')
  for (const tag of ['a', 'b']) await client.tag('cache/acme/web', digest, tag)
  await client.deleteTags('cache/acme/web')
  assert.equal(await pull(token, 'cache/acme/web'), 404)
  assert.equal(await client.findImage('cache/acme/web', digest), undefined)
  await client.deleteTags('cache/acme/web')
  await client.deleteTags('cache/acme/never')
})
