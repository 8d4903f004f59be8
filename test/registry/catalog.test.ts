// What the catalog and the referrers API say, and to whom.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import {
  bearer,
  buildToken,
  givenProxy,
  givenRegistry,
  member,
  operator,
  registryAdmin,
} from '../helpers/registry.ts'

async function givenCatalog(t: TestContext, repos: readonly string[]) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await registryAdmin())
  for (const repo of repos) await pushImage({ url, repo, headers }, 'latest')
  /** A token as docker's clients get one. */
  const had = async (token: string, scope: string) => {
    const reply = await fetch(`${url}/v2/token?scope=${scope}`, { headers: bearer(token) })
    return ((await reply.json()) as { token: string }).token
  }
  const statusOf = async (path: string, token: string) =>
    (await fetch(`${url}/v2/${path}`, { headers: bearer(token) })).status
  const catalog = async (token: string, query = '') => {
    const reply = await fetch(`${url}/v2/_catalog${query}`, {
      headers: { ...bearer(token), accept: MANIFEST_TYPE },
    })
    const { repositories } = (await reply.json()) as { repositories?: string[] }
    return { status: reply.status, repositories, link: reply.headers.get('link') }
  }
  return { catalog, had, statusOf }
}

test('the catalog lists what the caller may pull, and nothing else', async (t) => {
  const own = ['apps/acme/web', 'builds/acme1', 'cache/acme/web']
  const theirs = ['apps/other/web', 'builds/other1', 'cache/other/web']
  const { catalog } = await givenCatalog(t, [...own, ...theirs, 'library/base'])
  const listed = async (token: string) => (await catalog(token)).repositories
  assert.deepEqual(await listed(await member('acme')), [...own, 'library/base'])
  assert.deepEqual(await listed(await buildToken('other1')), ['builds/other1', 'library/base'])
  assert.deepEqual(await listed(await registryAdmin()), [...own, ...theirs, 'library/base'].sort())
  assert.equal((await catalog('nonsense')).status, 401)
})

test('pages of the catalog name only what is the caller’s', async (t) => {
  const { catalog } = await givenCatalog(t, [
    'a/x',
    'builds/acme1',
    'builds/other1',
    'library/a',
    'z',
  ])
  const token = await member('acme')
  const first = await catalog(token, '?n=1')
  assert.deepEqual(first.repositories, ['builds/acme1'])
  assert.equal(first.link, '</v2/_catalog?last=builds%2Facme1&n=1>; rel="next"')
  const second = await catalog(token, '?last=builds%2Facme1&n=1')
  assert.deepEqual([second.repositories, second.link], [['library/a'], null])
  for (const query of ['?n=0', '?n=x', '?n=1001', '?n=1.5', '?last=../x']) {
    assert.equal((await catalog(await operator(), query)).status, 400, query)
  }
})

test('a token had for the catalog lists the same, and opens nothing of it', async (t) => {
  const repos = ['apps/acme/web', 'apps/other/web', 'builds/acme1', 'library/a']
  const { catalog, had, statusOf } = await givenCatalog(t, repos)
  const scope = 'registry:catalog:*'
  const acme = await had(await member('acme'), scope)
  const listed = (await catalog(acme)).repositories
  assert.deepEqual(listed, ['apps/acme/web', 'builds/acme1', 'library/a'])
  assert.deepEqual((await catalog(await had(await operator(), scope))).repositories, repos)
  assert.deepEqual((await catalog(await had(acme, scope))).repositories, listed)
  const build = await had(await buildToken('acme1'), scope)
  assert.deepEqual((await catalog(build)).repositories, ['library/a'])
  const without = await had(await member('acme'), 'repository:apps/acme/web:pull')
  assert.deepEqual((await catalog(without)).repositories, ['apps/acme/web'])
  assert.equal(await statusOf('apps/acme/web/tags/list', acme), 401)
  assert.equal(await statusOf('apps/acme/web/tags/list', without), 200)
})
