// The attack table: two tenants, a whole server, real builds. `acme` has what `other` wants.
import assert from 'node:assert/strict'
import { createHmac, hkdfSync, randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { SignJWT } from 'jose'
import { givenApp } from '../helpers/apps.ts'
import { remoteUrl } from '../helpers/repo.ts'
import { DOCKERFILE, post, tarGzOf } from '../helpers/sources.ts'
import { givenTwoTenants, type TwoTenants } from '../helpers/two-tenants.ts'

const REFUSED = 401

interface Forgery {
  key?: Uint8Array
  aud?: string
  exp?: string
}

/** An operator's push token, right in every part but those given. */
function forge({ secret }: Pick<TwoTenants, 'secret'>, { key, aud, exp }: Forgery = {}) {
  const real = new Uint8Array(hkdfSync('sha256', secret, '', 'hypeman registry token', 32))
  return new SignJWT({ scope: 'admin:*' })
    .setProtectedHeader({ alg: 'HS256', typ: 'hypeman-registry+jwt' })
    .setIssuer('hypeman')
    .setAudience(aud ?? 'hypeman-registry')
    .setSubject('op')
    .setJti(randomUUID())
    .setExpirationTime(exp ?? '60 s')
    .sign(key ?? real)
}

function unsigned(token: string): string {
  const header = Buffer.from(JSON.stringify({ alg: 'none', typ: 'hypeman-registry+jwt' }))
  return `${header.toString('base64url')}.${token.split('.')[1]}.`
}

/** In this order: one of them ends the running builds. */
const attacks: Record<string, (world: TwoTenants, t: TestContext) => Promise<void>> = {
  async 'by tag, digest, blob, list of tags or referrers'(world) {
    const { statusOf, acme, loot, strangers } = world
    const parts = [
      'manifests/latest',
      `manifests/${loot.digest}`,
      `blobs/${loot.layer}`,
      `blobs/${loot.config}`,
      `blobs/${loot.layer.replace(':', '%3A')}`,
      'tags/list',
      `referrers/${loot.digest}`,
    ]
    for (const part of parts) {
      const path = `/v2/${loot.repo}/${part}`
      for (const token of strangers) {
        for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) {
          const status = await statusOf(path, token, { method })
          assert.ok(status === REFUSED || status === 405, `${method} ${path}: ${status}`)
        }
      }
    }
    for (const part of parts) {
      assert.equal(await statusOf(`/v2/${loot.repo}/${part}`, acme), 200, `the control: ${part}`)
    }
  },

  async 'weakness 6: by the digest of a blob under a name of one’s own'(world) {
    const { statusOf, acme, loot, theirs } = world
    const path = `/v2/builds/${theirs.id}/blobs/${loot.layer}`
    assert.equal(await statusOf(path, theirs.token), 404)
    assert.equal(await statusOf(path, theirs.token, { method: 'DELETE' }), REFUSED)
    assert.equal(await statusOf(`/v2/${loot.repo}/blobs/${loot.layer}`, acme), 200)
  },

  async 'by the address of an upload'(world) {
    const { call, statusOf, ours, theirs } = world
    const method = 'POST'
    const begun = await call(`/v2/builds/${ours.id}/blobs/uploads/`, ours.token, { method })
    const location = begun.headers.get('location') ?? ''
    for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
      assert.equal(await statusOf(location, theirs.token, { method }), REFUSED, method)
    }
    const moved = location.replace(ours.id, theirs.id)
    assert.equal(await statusOf(moved, theirs.token, { method: 'PATCH', body: 'x' }), 404)
    assert.equal(await statusOf(location, ours.token, { method: 'PATCH', body: 'x' }), 202)
  },

  async 'by a mount'(world) {
    const { statusOf, loot, theirs } = world
    const mine = `/v2/builds/${theirs.id}/blobs`
    for (const query of [`mount=${loot.layer}&from=${loot.repo}`, `mount=${loot.layer}`]) {
      const method = 'POST'
      assert.equal(await statusOf(`${mine}/uploads/?${query}`, theirs.token, { method }), 202)
    }
    assert.equal(await statusOf(`${mine}/${loot.layer}`, theirs.token), 404)
  },

  async 'by the catalog'(world) {
    const { call, acme, victim, loot, strangers } = world
    for (const token of strangers) {
      const reply = await call('/v2/_catalog', token)
      assert.doesNotMatch(await reply.text(), new RegExp(`${victim}|acme`))
    }
    const own = (await (await call('/v2/_catalog', acme)).json()) as { repositories: string[] }
    assert.ok(own.repositories.includes(loot.repo))
  },

  async 'with a token for two of three path segments'(world) {
    const { statusOf, theirs } = world
    for (const repo of ['cache/global/key', 'cache', 'cache/globa', 'cache/global2']) {
      assert.equal(await statusOf(`/v2/${repo}/tags/list`, theirs.token), REFUSED, repo)
      const method = 'POST'
      const uploads = `/v2/${repo}/blobs/uploads/`
      assert.equal(await statusOf(uploads, theirs.token, { method }), REFUSED, repo)
    }
  },

  async 'with the API token of another tenant, however it is carried'(world) {
    const { server, call, statusOf, acme, other, loot, ours } = world
    const repos = [loot.repo, `builds/${ours.id}`, 'apps/acme/hello', 'cache/acme/hello']
    const scopes = repos.map((repo) => `scope=repository:${repo}:pull,push,delete`).join('&')
    const had = await call(`/v2/token?${scopes}`, other)
    const { token: session } = (await had.json()) as { token: string }
    const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`
    const carriers = [
      `Bearer ${other}`,
      `Bearer ${session}`,
      basic(`eve:${other}`),
      basic(`${other}:`),
      basic(`acme:${other}`),
    ]
    for (const authorization of carriers) {
      for (const repo of repos) {
        for (const [method, path] of [
          ['GET', 'tags/list'],
          ['GET', 'manifests/latest'],
          ['POST', 'blobs/uploads/'],
          ['DELETE', 'manifests/latest'],
        ] as const) {
          const headers = { authorization }
          const reply = await fetch(`${server.url}/v2/${repo}/${path}`, { method, headers })
          assert.equal(reply.status, REFUSED, `${method} ${repo}/${path}`)
        }
      }
    }
    assert.equal(await statusOf(`/v2/${loot.repo}/tags/list`, acme), 200, 'the control')
    // Nor does a token of one's own tenant push what only a build pushes.
    const uploads = `/v2/builds/${ours.id}/blobs/uploads/`
    assert.equal(await statusOf(uploads, acme, { method: 'POST' }), REFUSED)
  },

  async 'with an administrator’s flags and no administrator’s token'(world) {
    const { server, call, statusOf, acme, other, theirs, victim } = world
    const limited = await server.token('op', { admin: true, permissions: ['build:write'] })
    const source = await tarGzOf(DOCKERFILE)
    const refused = async (token: string, fields: Record<string, string>) => {
      const form = post(...Object.entries(fields), ['source', source])
      const reply = await call('/builds', token, form)
      return `${reply.status} ${await reply.text()}`
    }
    const before = await server.sql<{ n: string }>('select count(*) as n from builds')
    for (const token of [other, limited]) {
      const flags = { is_admin_build: 'true', global_cache_key: 'node' }
      assert.match(await refused(token, flags), /^403 .*build:admin/)
    }
    for (const scope of ['global/node', '../global/node', 'x,ref=other/repo', 'acme/hello', 'a']) {
      assert.match(await refused(other, { cache_scope: scope }), /^400 .*cache_scope/, scope)
    }
    const name = 'apps/acme/hello'
    assert.match(await refused(other, { image_name: name }), /^400 .*image_name/)
    assert.deepEqual(await server.sql('select count(*) as n from builds'), before)
    const begin = { method: 'POST' }
    const inboxes = ['library/base', 'cache/global/node', `builds/${theirs.id}`]
    for (const repo of inboxes) {
      assert.equal(await statusOf(`/v2/${repo}/blobs/uploads/`, other, begin), REFUSED, repo)
    }
    for (const repo of ['library/base', 'cache/global/node']) {
      assert.equal(await statusOf(`/v2/${repo}/blobs/uploads/`, theirs.token, begin), REFUSED, repo)
    }
    for (const path of ['/builds?tenant=acme', '/apps?tenant=acme', '/metrics']) {
      const status = await statusOf(path, other)
      assert.ok(status === 403 || status === 404, `${path}: ${status}`)
    }
    const cancel = { method: 'DELETE' }
    assert.equal(await statusOf(`/builds/${victim}`, other, cancel), 404)
    assert.equal(await statusOf('/apps/hello?tenant=acme', other, cancel), 404)
    assert.equal(await statusOf('/apps/hello', acme), 200, 'the control')
  },

  async 'with a forged token'(world) {
    const { server, secret, statusOf, loot } = world
    const right = await forge(world)
    assert.equal(await statusOf(`/v2/${loot.repo}/tags/list`, right), 200, 'the control')
    const plain = Buffer.from(secret)
    const [head, claims] = right.split('.')
    const byHand = createHmac('sha256', plain).update(`${head}.${claims}`).digest('base64url')
    const forged: Record<string, string> = {
      'alg none': unsigned(right),
      'another key': await forge(world, { key: new Uint8Array(32) }),
      'the secret itself as key': `${head}.${claims}.${byHand}`,
      expired: await forge(world, { exp: '-1 s' }),
      'for another audience': await forge(world, { aud: 'hypeman-api' }),
      'an API token that may not read builds': await server.token('ada', {
        tenant: 'acme',
        permissions: ['app:read'],
      }),
    }
    for (const [what, token] of Object.entries(forged)) {
      for (const path of [`/v2/${loot.repo}/tags/list`, `/v2/${loot.repo}/blobs/${loot.layer}`]) {
        assert.equal(await statusOf(path, token), REFUSED, `${what}: ${path}`)
      }
    }
  },

  async 'weakness 9: by saying to come from inside'(world) {
    const { server, loot } = world
    const headers = {
      'x-forwarded-for': '10.102.0.2',
      'x-real-ip': '127.0.0.1',
      forwarded: 'for=_',
    }
    const reply = await fetch(`${server.url}/v2/${loot.repo}/tags/list`, { headers })
    assert.equal(reply.status, REFUSED)
  },

  async 'weakness 3: with a registry token at REST or git'(world) {
    const { server, call, statusOf, victim, theirs } = world
    const scope = `repository:builds/${theirs.id}:pull`
    const had = await call(`/v2/token?scope=${scope}`, theirs.token)
    const session = ((await had.json()) as { token: string }).token
    for (const token of [theirs.token, session, await forge(world)]) {
      for (const path of ['/builds', `/builds/${victim}`, '/apps', '/reports/builds', '/metrics']) {
        assert.equal(await statusOf(path, token), REFUSED, path)
      }
      const submit = { method: 'POST', body: new FormData() }
      assert.equal(await statusOf('/builds', token, submit), REFUSED)
      for (const service of ['git-upload-pack', 'git-receive-pack']) {
        const url = new URL(remoteUrl(server.url, 'x', '/acme/hello.git'))
        const basic = Buffer.from(`git:${token}`).toString('base64')
        const reply = await fetch(`${server.url}${url.pathname}/info/refs?service=${service}`, {
          headers: { authorization: `Basic ${basic}` },
        })
        assert.equal(reply.status, REFUSED, service)
      }
    }
  },

  async 'weakness 12: with the token of a build that is over'(world) {
    const { call, statusOf, ours, theirs } = world
    const own = `/v2/builds/${theirs.id}`
    const scope = `scope=repository:builds/${theirs.id}:pull,push`
    const had = await call(`/v2/token?${scope}`, theirs.token)
    const session = ((await had.json()) as { token: string }).token
    assert.equal(await statusOf(`${own}/blobs/uploads/`, session, { method: 'POST' }), 202)
    await Promise.all([ours.end(), theirs.end()])
    for (const token of [theirs.token, session]) {
      for (const path of [`${own}/tags/list`, '/v2/', '/v2/library/x/tags/list', `/v2/token`]) {
        assert.equal(await statusOf(path, token), REFUSED, path)
      }
      assert.equal(await statusOf(`${own}/blobs/uploads/`, token, { method: 'POST' }), REFUSED)
    }
  },

  async 'weakness 7: as the base of an image'(world, t) {
    const { server, other, loot } = world
    const repo = await givenApp(t, server, other, 'thief', 'hello')
    const from = `localhost:5000/${loot.repo}@${loot.digest}`
    for (const dockerfile of [
      `FROM ${from}\n`,
      `FROM scratch\nCOPY --from=${from} / /loot\n`,
      `FROM localhost:5000/apps/acme/hello:main\n`,
    ]) {
      await repo.write('Dockerfile', dockerfile)
      await repo.commit('steal')
      const stolen = await repo.push('hypeman', 'main')
      const build = await server.build(stolen.buildId ?? assert.fail(stolen.text), other)
      assert.equal(build.status, 'failed', stolen.text)
      assert.match(stolen.text, /401|not authorized|authorization failed|pull access denied/i)
    }
  },
}

test('nothing of a tenant is read or changed by another', async (t) => {
  const world = await givenTwoTenants(t)
  for (const [how, attack] of Object.entries(attacks)) {
    await t.test(how, (inner) => attack(world, inner))
  }
})
