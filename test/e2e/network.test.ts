// What a build can reach: through the egress proxy what its policy allows, over vsock nothing at all.
import assert from 'node:assert/strict'
import { lookup } from 'node:dns/promises'
import { copyFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { BuildConnections } from '../../server/builds/connections.ts'
import { givenApp, givenSettings } from '../helpers/apps.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import {
  givenCertificate,
  givenTlsRegistry,
  givenTrustingBuilder,
  givenWeb,
} from '../helpers/internet.ts'
import { givenPrograms } from '../helpers/programs.ts'
import { givenServer } from '../helpers/server.ts'

test('a base image and a download come through in egress and not in isolated, and vsock gives a RUN step nothing', async (t) => {
  // This machine's own name and 127.0.0.2 are let through and stand in for the internet; 127.0.0.3 is
  // private like any inner network.
  const host = hostname()
  const { address } = await lookup(host)
  const internet = await givenWeb(t, '127.0.0.2')
  const inner = await givenWeb(t, '127.0.0.3')
  const certificate = await givenCertificate(t, host)
  const base = await givenBusyboxImage(t)
  const registry = await givenTlsRegistry(t, address, base, certificate)
  const server = await givenServer(t, {
    EGRESS_ALLOW_ADDRESSES: `127.0.0.2,${address}`,
    BUILDER_IMAGE: await givenTrustingBuilder(t, certificate),
  })
  const token = await server.token('ada')
  const programs = await givenPrograms(t)

  const pushOf = async (name: string, mode: string, lines: string[]) => {
    await givenSettings(server, token, name, { policy: { network_mode: mode } })
    const repo = await givenApp(t, server, token, name)
    for (const file of ['dial64', 'dial32', 'fetch']) {
      await copyFile(join(programs, file), join(repo.dir, file))
    }
    await copyFile('/bin/busybox', join(repo.dir, 'busybox'))
    await repo.write('Dockerfile', `${lines.join('\n')}\n`)
    await repo.commit()
    const push = await repo.push('hypeman', 'main')
    assert.ok(push.buildId, push.text)
    return { text: push.text, build: await server.build(push.buildId, token) }
  }
  const fromOutside = `FROM ${host}:${registry.port}/outside/busybox:1`
  const fetches = [
    `RUN ["/fetch", "http://127.0.0.2:${internet.port}/payload"]`,
    `RUN ["/busybox", "sh", "-c", "! /fetch http://127.0.0.3:${inner.port}/inner"]`,
  ]
  const dials = ['COPY dial64 dial32 fetch busybox /', 'RUN ["/dial64"]', 'RUN ["/dial32"]']
  const [open, closed] = await Promise.all([
    pushOf('open', 'egress', [fromOutside, ...dials, ...fetches]),
    pushOf('closed', 'isolated', ['FROM scratch', ...dials, ...fetches]),
  ])

  await t.test('egress reaches what it may and nothing else', () => {
    assert.equal(open.build.status, 'ready', open.text)
    assert.match(open.text, /fetch: 200 OK: payload from outside/)
    assert.deepEqual(internet.requests, ['/payload'])
    assert.match(open.text, /fetch: 403 Forbidden/)
    assert.deepEqual(inner.requests, [])
    assert.ok(registry.requests.some((path) => path.includes('/outside/busybox/manifests/')))
  })

  await t.test('each connection has the program it comes from, as the guest saw it', async () => {
    const reply = await server.api(`/builds/${open.build.id}/connections`, token)
    const { network_connections: events, complete } = (await reply.json()) as BuildConnections
    assert.equal(complete, true)
    const from = (port: number) =>
      new Set(events.filter(({ dst_port }) => dst_port === port).map(({ process }) => process))
    assert.deepEqual([...from(internet.port)], ['/fetch'])
    assert.deepEqual([...from(inner.port)], ['/fetch'])
    assert.deepEqual([...from(registry.port)], ['/usr/bin/buildkitd'])
  })

  await t.test('isolated reaches nothing', () => {
    assert.equal(closed.build.failure_class, 'build', closed.text)
    assert.doesNotMatch(closed.text, /payload from outside/)
  })

  await t.test('dialling the host over vsock, 64-bit and i386, gives nothing', () => {
    for (const { text } of [open, closed]) {
      assert.match(text, /dialled amd64 \d+ ports/)
      assert.match(text, /dialled 386 \d+ ports/)
      const answered = [...text.matchAll(/dial (\S+) (\d+): connected, answer "([^"]*)/g)]
      for (const [, , port, answer] of answered) {
        if (port === '5000') assert.match(answer ?? '', /^HTTP\/1\.1 401/)
        else assert.equal(port, text === open.text ? '3128' : 'none', 'an unexpected port answers')
      }
    }
  })

  await t.test('a base image from outside fails in isolated', async () => {
    const refused = await pushOf('walled', 'isolated', [fromOutside])
    assert.equal(refused.build.failure_class, 'build', refused.text)
  })
})
