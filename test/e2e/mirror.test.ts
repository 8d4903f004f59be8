// Base images of another registry, through the mirror: in a build without a way out, when that registry is there
// and when it is away.
import assert from 'node:assert/strict'
import http from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { execa } from 'execa'
import { openUpstream } from '../../server/registry/upstream.ts'
import { givenApp, givenSettings } from '../helpers/apps.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { testParts } from '../helpers/parts.ts'
import { givenRegistry, listen } from '../helpers/registry.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

test('FROM docker.io works in an isolated build, and goes on when docker.io is away', async (t) => {
  const { upstream, dir } = await givenRegistry(t)
  let isAway = false
  const hub = http.createServer(async (req, res) => {
    if (isAway) {
      res.writeHead(429).end()
      return
    }
    const { method = 'GET', url: path = '', headers } = req
    const body = method === 'GET' || method === 'HEAD' ? undefined : req
    const { signal } = new AbortController()
    const reply = await openUpstream(upstream, { method, path, headers, body, signal })
    res.writeHead(reply.statusCode ?? 502, reply.headers)
    reply.pipe(res)
  })
  const url = await listen(t, hub)
  const { skopeo } = await testParts()
  const image = `docker://${new URL(url).host}/library/base:1`
  const files = ['--dest-tls-verify=false', '--digestfile', join(dir, 'digest')]
  await execa(skopeo, ['copy', ...files, `oci:${await givenBusyboxImage(t)}`, image])
  const { stdout: digest } = await execa('cat', [join(dir, 'digest')])

  const server = await givenServer(t, {
    RUNNER: await fastestRunner(),
    REGISTRY_MIRRORS: `docker.io=${url}`,
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
  assert.equal(first.provenance?.base_image_digest, digest)
  assert.equal(first.provenance?.base_images?.[0]?.ref, 'docker.io/library/base:1')

  isAway = true
  const again = await build(`${dockerfile}RUN echo "once more"\n`)
  assert.equal(again.status, 'ready', again.text)
  assert.match(again.text, /docker\.io\/library\/base:1 comes from the mirror/)

  isAway = false
  const foreign = await build('FROM acme/private:1\n')
  assert.equal(foreign.status, 'failed')
  assert.match(
    foreign.text,
    /mirror does not have docker\.io\/acme\/private:1: \S+ is not in REGISTRY_MIRROR_REPOSITORIES/,
  )
})
