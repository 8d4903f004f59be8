// Base images of another registry, through the mirror: in a build without a way out, when that registry is there
// and when it is away.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenApp, givenSettings } from '../helpers/apps.ts'
import { givenBaseRegistry } from '../helpers/base-registry.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

test('FROM docker.io works in an isolated build, and goes on when docker.io is away', async (t) => {
  const hub = await givenBaseRegistry(t)
  const server = await givenServer(t, {
    RUNNER: await fastestRunner(),
    REGISTRY_MIRRORS: `docker.io=${hub.url}`,
    REGISTRY_MIRROR_REPOSITORIES: 'docker.io/library/*',
  })
  const token = await server.token('ada')
  await givenSettings(server, token, 'hello', {
    policy: { network_mode: 'isolated' },
    cache_scope: 'nothing',
  })
  const repo = await givenApp(t, server, token, 'hello')
  const build = async (dockerfile: string) => {
    await repo.write('Dockerfile', dockerfile)
    await repo.commit('another one')
    const push = await repo.push('hypeman', 'main', '-o', 'no-cache')
    return { text: push.text, ...(await server.build(push.buildId!, token)) }
  }
  const dockerfile = 'FROM base:1\nRUN echo "I run on it"\n'

  const first = await build(dockerfile)
  assert.equal(first.status, 'ready', first.text)
  assert.match(
    first.text,
    /docker\.io\/library\/base:1 comes from its registry, through the mirror/,
  )
  assert.equal(first.provenance?.base_image_digest, hub.digest)
  assert.equal(first.provenance?.base_images?.[0]?.ref, 'docker.io/library/base:1')

  hub.isAway = true
  const again = await build(`${dockerfile}RUN echo "once more"\n`)
  assert.equal(again.status, 'ready', again.text)
  assert.match(again.text, /docker\.io\/library\/base:1 comes from the mirror/)

  hub.isAway = false
  const foreign = await build('FROM acme/private:1\n')
  assert.equal(foreign.status, 'failed')
  assert.match(
    foreign.text,
    /mirror does not have docker\.io\/acme\/private:1: \S+ is not in REGISTRY_MIRROR_REPOSITORIES/,
  )
})
