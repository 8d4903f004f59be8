// The registry cache with real builds, each in a fresh sandbox: nothing but the registry can have kept anything.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Build } from '../../server/builds/schema.ts'
import { givenApp } from '../helpers/apps.ts'
import type { Repo } from '../helpers/repo.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'
import { formOf } from '../helpers/sources.ts'

const DOCKERFILE = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
RUN /bin/busybox --install -s /bin && cat /proc/sys/kernel/random/uuid > /id
COPY hello.sh /
RUN cat /hello.sh
`

async function given(t: TestContext) {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  return { server, token: await server.token('ada', { tenant: 'acme' }) }
}

async function givenHello(t: TestContext, server: TestServer, token: string): Promise<Repo> {
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  await repo.write('Dockerfile', DOCKERFILE)
  await repo.commit('steps before and after the source')
  return repo
}

/** What a build has executed, as the commands of its RUN steps. */
async function ran(server: TestServer, id: string, token: string): Promise<string[]> {
  const reply = await server.api(`/builds/${id}/steps`, token)
  const steps = (await reply.json()) as { name: string; state: string }[]
  return steps
    .filter(({ state }) => state !== 'cached')
    .flatMap(({ name }) => name.split('] RUN ').slice(1))
}

/** Which repositories it read and wrote, what it took from there, and what it executed. */
async function cacheOf(server: TestServer, build: Build, token: string) {
  const { source, steps_total, steps_cached, ...cache } = build.provenance!.cache!
  assert.equal(steps_cached, build.steps?.cached)
  assert.ok(steps_total < build.steps!.total, "BuildKit's own steps do not count")
  return { cache, source, ran: await ran(server, build.id, token) }
}

async function pushed(server: TestServer, token: string, repo: Repo, ...options: string[]) {
  const push = await repo.push('hypeman', 'main', ...options)
  const build = await server.build(push.buildId!, token)
  assert.equal(build.status, 'ready', push.text)
  return { build, ...(await cacheOf(server, build, token)), text: push.text }
}

async function submitted(server: TestServer, token: string, fields: Record<string, string>) {
  const body = formOf(...Object.entries({ app: 'hello', ref: 'main', ...fields }))
  const reply = await server.api('/builds', token, { method: 'POST', body })
  assert.equal(reply.status, 202, await reply.clone().text())
  const { id } = (await reply.json()) as { id: string }
  const build = await server.ended(id, token)
  assert.equal(build.status, 'ready', build.error)
  return { build, ...(await cacheOf(server, build, token)) }
}

test('weakness 30: an unchanged commit runs no step in a fresh pod, a changed line only what depends on it', async (t) => {
  const { server, token } = await given(t)
  const repo = await givenHello(t, server, token)
  const own = 'cache/acme/hello'

  const cold = await pushed(server, token, repo)
  assert.equal(cold.ran.length, 3)
  assert.match(cold.text, /No cache at cache\/acme\/hello yet/)
  assert.equal(cold.build.steps?.failed, 0, 'a cache that is not there is no failed step')
  assert.deepEqual(cold.cache, { imported: [], exported: own })
  assert.equal(cold.source, 'none')
  assert.match(cold.text, /Cache: 0 of \d+ steps\n/)

  await repo.commit('nothing changed')
  const warm = await pushed(server, token, repo)
  assert.deepEqual(warm.ran, [], warm.text)
  assert.deepEqual(warm.cache, { imported: [own], exported: own })
  assert.equal(warm.source, 'registry')
  assert.match(warm.text, /Cache: [4-9] of \d+ steps, from the registry\n/)

  await repo.write('hello.sh', 'echo another\n')
  await repo.commit('one line')
  const changed = await pushed(server, token, repo)
  assert.deepEqual(changed.ran, ['cat /hello.sh'], changed.text)

  await repo.commit('without cache')
  const without = await pushed(server, token, repo, '-o', 'no-cache')
  assert.equal(without.ran.length, 3)
  assert.deepEqual(without.cache, { imported: [], exported: own })

  // Each run of that step writes another file: the cache has the layers of the build that made the image.
  const again = await submitted(server, token, {})
  assert.deepEqual(again.ran, [])
  assert.equal(again.build.image_digest, without.build.image_digest)

  const dropped = await server.api('/apps/hello/cache', token, { method: 'DELETE' })
  assert.equal(dropped.status, 204)
  await repo.commit('after the cache was dropped')
  assert.equal((await pushed(server, token, repo)).ran.length, 3)
})

test('the global cache is written by admin builds and read by all, a scope by its own tenant alone', async (t) => {
  const { server, token } = await given(t)
  await pushed(server, token, await givenHello(t, server, token))
  const admin = await server.token('root', { tenant: 'ops', admin: true })
  const stranger = await server.token('eve', { tenant: 'other' })
  await (await givenHello(t, server, admin)).push('hypeman', 'main')

  const foreign = await pushed(server, stranger, await givenHello(t, server, stranger))
  assert.equal(foreign.ran.length, 3, 'the app of another tenant with the same name begins cold')
  assert.deepEqual(foreign.cache, { imported: [], exported: 'cache/other/hello' })

  const filled = await submitted(server, admin, {
    is_admin_build: 'true',
    global_cache_key: 'node',
    no_cache: 'true',
    cache_scope: 'ignored',
  })
  assert.deepEqual(filled.cache, { imported: [], exported: 'cache/global/node' })

  const fields = { global_cache_key: 'node', cache_scope: 'fresh', runtime: 'nodejs20' }
  const used = await submitted(server, stranger, fields)
  assert.deepEqual(used.ran, [])
  assert.deepEqual(used.cache, {
    imported: ['cache/global/node'],
    exported: 'cache/other/fresh/nodejs20',
  })
  const own = await submitted(server, stranger, fields)
  assert.deepEqual(own.cache?.imported, ['cache/global/node', 'cache/other/fresh/nodejs20'])
})
