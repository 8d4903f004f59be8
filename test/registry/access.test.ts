// Who gets through the proxy, request by request, on a real registry.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { digestOf, MANIFEST_TYPE, pushBlob, pushImage } from '../helpers/oci.ts'
import {
  bearer,
  buildToken,
  givenProxy,
  givenRegistry,
  member,
  operator,
  registryAdmin,
  tokens,
} from '../helpers/registry.ts'

async function givenHouse(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const get = (path: string, token?: string, init: RequestInit = {}) =>
    fetch(`${url}${path}`, {
      ...init,
      headers: { accept: MANIFEST_TYPE, ...(token ? bearer(token) : {}), ...init.headers },
    })
  const target = (repo: string, token: string) => ({ url, repo, headers: bearer(token) })
  return { url, get, target }
}

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`

test('without a token there is a challenge that says where to get one, and for what', async (t) => {
  const { url, get } = await givenHouse(t)
  const base = await get('/v2/')
  assert.equal(base.status, 401)
  const realm = `Bearer realm="${url}/v2/token",service="hypeman"`
  assert.equal(base.headers.get('www-authenticate'), realm)
  assert.deepEqual(await base.json(), {
    errors: [{ code: 'UNAUTHORIZED', message: 'registry authentication required' }],
  })
  const pull = await get('/v2/builds/acme1/manifests/latest')
  const scope = (actions: string) => `${realm},scope="repository:builds/acme1:${actions}"`
  assert.equal(pull.headers.get('www-authenticate'), scope('pull'))
  const push = await get('/v2/builds/acme1/blobs/uploads/', undefined, { method: 'POST' })
  assert.equal(push.headers.get('www-authenticate'), scope('pull,push'))
})

test('a token that is wrong, and one that allows too little, are told apart', async (t) => {
  const { get } = await givenHouse(t)
  const wrong = await get('/v2/builds/acme1/tags/list', 'nonsense')
  assert.equal(wrong.status, 401)
  assert.match(wrong.headers.get('www-authenticate') ?? '', /,error="invalid_token"$/)
  const little = await get('/v2/builds/acme1/tags/list', await member('other'))
  assert.equal(little.status, 401)
  assert.match(little.headers.get('www-authenticate') ?? '', /,error="insufficient_scope"$/)
})

test('Basic is accepted directly, with the token as password or as user', async (t) => {
  const { get } = await givenHouse(t)
  const token = await member()
  for (const pair of [`ada:${token}`, `${token}:`, `${token}:x`]) {
    const { status } = await get('/v2/', undefined, { headers: { authorization: basic(pair) } })
    assert.equal(status, 200)
  }
})

test('another tenant reaches nothing of a build: not by tag, digest, blob, tags or referrers', async (t) => {
  const { get, target } = await givenHouse(t)
  const image = await pushImage(target('builds/acme1', await buildToken('acme1')), 'latest')
  const paths = [
    'manifests/latest',
    `manifests/${image.digest}`,
    `blobs/${image.layer}`,
    'tags/list',
    `referrers/${image.digest}`,
    `blobs/${image.layer.replace(':', '%3A')}`,
  ]
  const strangers = [await member('other'), await buildToken('other1')]
  for (const path of paths) {
    for (const token of strangers) {
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) {
        const { status } = await get(`/v2/builds/acme1/${path}`, token, { method })
        assert.ok(status === 401 || status === 405, `${method} ${path}: ${status}`)
      }
    }
  }
  // The control: for the own tenant they are there.
  const own = await member('acme')
  for (const path of paths) {
    assert.equal((await get(`/v2/builds/acme1/${path}`, own)).status, 200, path)
  }
})

test('what is there and what is not look the same to a stranger', async (t) => {
  const { get, target } = await givenHouse(t)
  await pushImage(target('builds/acme1', await buildToken('acme1')), 'latest')
  const eve = await member('other')
  const there = await get('/v2/builds/acme1/manifests/latest', eve)
  const missing = await get('/v2/builds/acme2/manifests/latest', eve)
  assert.equal(there.status, missing.status)
  const sameText = async (reply: Response) => (await reply.text()).replace(/acme\d/g, '')
  assert.equal(await sameText(there), await sameText(missing))
})

test('a blob of another repository is not there under a name one may read', async (t) => {
  const { get, target } = await givenHouse(t)
  const image = await pushImage(target('builds/other1', await buildToken('other1')), 'latest')
  const { status } = await get(`/v2/builds/acme1/blobs/${image.layer}`, await buildToken('acme1'))
  assert.equal(status, 404)
})

test('a build’s token pushes nowhere else', async (t) => {
  const { get } = await givenHouse(t)
  const token = await buildToken('acme1')
  for (const repo of ['builds/acme2', 'builds/acme1/x', 'library/x', 'cache/global/x', 'builds']) {
    const { status } = await get(`/v2/${repo}/blobs/uploads/`, token, { method: 'POST' })
    assert.equal(status, 401, repo)
  }
})

test('an upload can’t be continued by a stranger who learns its address', async (t) => {
  const { url, get } = await givenHouse(t)
  const begun = await get('/v2/builds/acme1/blobs/uploads/', await buildToken(), { method: 'POST' })
  const location = begun.headers.get('location') ?? ''
  assert.match(location, /^\/v2\/builds\/acme1\/blobs\/uploads\//)
  for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
    const { status } = await get(location, await buildToken('other1'), { method })
    assert.equal(status, 401, method)
  }
  const moved = location.replace('builds/acme1', 'builds/other1')
  const taken = await get(moved, await buildToken('other1'), { method: 'PATCH', body: 'x' })
  assert.equal(taken.status, 404, `${url}${moved}`)
})

test('a mount from a repository one can’t read becomes a plain upload', async (t) => {
  const { get, target } = await givenHouse(t)
  const { layer } = await pushImage(target('builds/other1', await buildToken('other1')), 'latest')
  const token = await buildToken('acme1')
  const query = (text: string) => `/v2/builds/acme1/blobs/uploads/?${text}`
  const from = 'builds/other1'
  for (const path of [
    query(`mount=${layer}&from=${from}`),
    query(`mount=${layer}&from=library/x&from=${from}`),
    query(`from=library/x%25zz&from=${from}&mount=${layer}`),
    query(`from=library/x%zz&from=${from}&mount=${layer}`),
    query(`mount=${layer}&from=library/x;from=${from}`),
    query(`mount=${layer}`),
  ]) {
    const { status } = await get(path, token, { method: 'POST' })
    assert.equal(status, 202, path)
  }
  assert.equal(
    (await get(`/v2/builds/acme1/blobs/${layer}`, token, { method: 'HEAD' })).status,
    404,
  )
})

test('a form in the body does not mount what the query may not', async (t) => {
  const { get, target } = await givenHouse(t)
  const { layer } = await pushImage(target('builds/other1', await buildToken('other1')), 'latest')
  const token = await buildToken('acme1')
  const body = new URLSearchParams({ mount: layer, from: 'builds/other1' })
  const path = '/v2/builds/acme1/blobs/uploads/'
  assert.equal((await get(path, token, { method: 'POST', body })).status, 202)
  const blob = await get(`/v2/builds/acme1/blobs/${layer}`, token, { method: 'HEAD' })
  assert.equal(blob.status, 404)
})

test('a mount from a base image works', async (t) => {
  const { get, target } = await givenHouse(t)
  const layer = await pushBlob(target('library/base', await operator()), Buffer.from('a layer'))
  const token = await buildToken('acme1')
  const path = `/v2/builds/acme1/blobs/uploads/?mount=${layer}&from=library/base`
  assert.equal((await get(path, token, { method: 'POST' })).status, 201)
  assert.equal((await get(`/v2/builds/acme1/blobs/${layer}`, token)).status, 200)
})

test('methods and paths outside the API reach nothing', async (t) => {
  const { get } = await givenHouse(t)
  const token = await operator()
  assert.equal((await get('/v2/_catalog', token, { method: 'POST' })).status, 405)
  assert.equal((await get('/v2/library/x/manifests/a', token, { method: 'POST' })).status, 405)
  assert.equal((await get('/v2/library/x/blobs/uploads/', token)).status, 405)
  assert.equal((await get('/v2/library%2Fx/manifests/a', token)).status, 404)
  assert.equal((await get('/v2/', token, { method: 'DELETE' })).status, 405)
  const noDigest = '/v2/library/x/manifests/sha256:abc'
  assert.equal((await get(noDigest, token, { method: 'PUT', body: '{}' })).status, 400)
})

test('the token endpoint gives a short token for what is asked and allowed', async (t) => {
  const { get, target } = await givenHouse(t)
  await pushImage(target('builds/acme1', await buildToken('acme1')), 'latest')
  const scopes = ['builds/acme1:pull,push', 'builds/other1:pull'].map((x) => `repository:${x}`)
  const query = scopes.map((scope) => `scope=${scope}`).join('&')
  const authorization = basic(`ada:${await member('acme')}`)
  const reply = await get(`/v2/token?service=hypeman&${query}`, undefined, {
    headers: { authorization },
  })
  assert.equal(reply.status, 200)
  const answer = (await reply.json()) as Record<string, string>
  assert.equal(answer.token, answer.access_token)
  assert.equal(answer.expires_in, 300)
  const grant = await tokens.verifyRegistry(answer.token ?? '')
  assert.deepEqual(grant.access, [{ repo: 'builds/acme1', scope: 'pull' }])
  assert.equal((await get('/v2/builds/acme1/manifests/latest', answer.token)).status, 200)
  assert.equal((await get('/v2/builds/other1/manifests/latest', answer.token)).status, 401)
  await assert.rejects(tokens.verifyApi(answer.token ?? ''), { message: 'invalid token type' })
})

test('the token endpoint takes the form of containerd, space-joined scopes and all', async (t) => {
  const { url } = await givenHouse(t)
  const ask = (form: Record<string, string>) =>
    fetch(`${url}/v2/token`, { method: 'POST', body: new URLSearchParams(form) })
  const scope = 'repository:library/a:pull repository:builds/acme1:pull'
  const password = await member('acme')
  for (const form of [
    { grant_type: 'password', username: 'ada', password, service: 'hypeman', scope },
    { grant_type: 'refresh_token', refresh_token: password, service: 'hypeman', scope },
  ]) {
    const reply = await ask(form)
    assert.equal(reply.status, 200)
    const { access_token } = (await reply.json()) as { access_token: string }
    const { access } = await tokens.verifyRegistry(access_token)
    assert.deepEqual(
      access.map(({ repo }) => repo),
      ['library/a', 'builds/acme1'],
    )
  }
  const wrong = await ask({ grant_type: 'password', username: 'ada', password: 'wrong' })
  assert.equal(wrong.status, 401)
  assert.equal(wrong.headers.get('www-authenticate'), 'Basic realm="hypeman"')
  const huge = await ask({ password: 'x'.repeat(2 * 1024 * 1024) })
  assert.equal(huge.status, 413)
})

test('a build’s token gets a short one for what it may have, from user or password', async (t) => {
  const { get } = await givenHouse(t)
  const token = await buildToken()
  const scope = 'scope=repository:builds/acme1:pull,push%20repository:builds/acme2:pull'
  for (const pair of [`build:${token}`, `${token}:`, `${token}:x`]) {
    const headers = { authorization: basic(pair) }
    const reply = await get(`/v2/token?${scope}&scope=repository:library/a:pull`, undefined, {
      headers,
    })
    const grant = await tokens.verifyRegistry(((await reply.json()) as { token: string }).token)
    assert.equal(grant.buildId, 'acme1')
    assert.deepEqual(grant.access, [
      { repo: 'builds/acme1', scope: 'push' },
      { repo: 'library/a', scope: 'pull' },
    ])
  }
})

test('a token had for a token does not last longer than that', async (t) => {
  const { get } = await givenHouse(t)
  const token = await tokens.mintRegistry({
    buildId: 'acme1',
    tenant: 'acme',
    access: [],
    leaseHash: 'x',
    ttlSeconds: 20,
  })
  const reply = await get('/v2/token', token)
  const answer = (await reply.json()) as { token: string; expires_in: number; issued_at: string }
  assert.ok(answer.expires_in <= 20)
  const { expiresAt } = await tokens.verifyRegistry(answer.token)
  const said = Date.parse(answer.issued_at) + answer.expires_in * 1000
  assert.ok(Math.abs(expiresAt.getTime() - said) <= 1_000)
})

test('a repository’s images are deleted with a token had for that', async (t) => {
  const { get, target } = await givenHouse(t)
  const image = await pushImage(target('apps/acme/web', await registryAdmin()), 'main')
  const had = async (token: string, actions: string) => {
    const reply = await get(`/v2/token?scope=repository:apps/acme/web:${actions}`, token)
    return ((await reply.json()) as { token: string }).token
  }
  const remove = async (token: string) =>
    (await get(`/v2/apps/acme/web/manifests/${image.digest}`, token, { method: 'DELETE' })).status
  assert.equal(await remove(await had(await member('acme'), 'pull')), 401)
  assert.equal(await remove(await had(await member('other'), '*')), 401)
  assert.equal(await remove(await had(await member('acme'), '*')), 202)
})

test('a digest that does not match is refused by the registry, and its words come through', async (t) => {
  const { url, get } = await givenHouse(t)
  const token = await buildToken()
  const begun = await get('/v2/builds/acme1/blobs/uploads/', token, { method: 'POST' })
  const location = new URL(begun.headers.get('location') ?? '', url)
  location.searchParams.set('digest', digestOf('something else'))
  const put = await fetch(location, { method: 'PUT', headers: bearer(token), body: 'content' })
  assert.equal(put.status, 400)
  const { errors } = (await put.json()) as { errors: { code: string }[] }
  assert.equal(errors[0]?.code, 'DIGEST_INVALID')
})

test('weakness 12: once a build is over or has lost its lease, its token and what was had for it are dead', async (t) => {
  const { upstream } = await givenRegistry(t)
  let runs = true
  const { url } = await givenProxy(t, upstream, { runsUnder: async () => runs })
  const token = await buildToken()
  const image = await pushImage({ url, repo: 'builds/acme1', headers: bearer(token) }, 'latest')
  const scope = 'scope=repository:builds/acme1:pull,push'
  const had = await fetch(`${url}/v2/token?${scope}`, { headers: bearer(token) })
  const session = ((await had.json()) as { token: string }).token
  const uses: [string, string][] = [
    ['GET', '/v2/'],
    ['GET', `/v2/token?${scope}`],
    ['GET', '/v2/_catalog'],
    ['GET', '/v2/builds/acme1/manifests/latest'],
    ['GET', `/v2/builds/acme1/blobs/${image.layer}`],
    ['GET', '/v2/builds/acme1/tags/list'],
    ['GET', `/v2/builds/acme1/referrers/${image.digest}`],
    ['GET', '/v2/library/base/tags/list'],
    ['POST', '/v2/builds/acme1/blobs/uploads/'],
    ['PUT', '/v2/builds/acme1/manifests/latest'],
  ]
  const statusOf = async (method: string, path: string, carried: string) =>
    (await fetch(`${url}${path}`, { method, headers: bearer(carried) })).status
  for (const [method, path] of uses) assert.notEqual(await statusOf(method, path, session), 401)
  runs = false
  for (const carried of [token, session]) {
    for (const [method, path] of uses) {
      assert.equal(await statusOf(method, path, carried), 401, `${method} ${path}`)
    }
  }
})
