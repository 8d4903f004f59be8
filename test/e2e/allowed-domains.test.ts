// The network policy of a pushed build, from its Dockerfile to the log and the API: base image and RUN step.
import assert from 'node:assert/strict'
import { lookup } from 'node:dns/promises'
import { copyFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { NetworkConnection } from '../../server/builds/connections.ts'
import { givenApp, givenSettings } from '../helpers/apps.ts'
import { givenWeb } from '../helpers/internet.ts'
import { givenPrograms } from '../helpers/programs.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

test('allowed_domains holds for base images and RUN steps, and who connected is recorded', async (t) => {
  const host = hostname()
  const { address } = await lookup(host)
  const web = await givenWeb(t, address)
  const server = await givenServer(t, {
    EGRESS_ALLOW_ADDRESSES: address,
    RUNNER: await fastestRunner(),
  })
  const token = await server.token('ada')
  const programs = await givenPrograms(t)

  const pushOf = async (name: string, domains: string[] | undefined, lines: string[]) => {
    const policy = { network_mode: 'egress', ...(domains ? { allowed_domains: domains } : {}) }
    await givenSettings(server, token, name, { policy })
    const repo = await givenApp(t, server, token, name)
    await copyFile(join(programs, 'fetch'), join(repo.dir, 'fetch'))
    await copyFile('/bin/busybox', join(repo.dir, 'busybox'))
    await repo.write('Dockerfile', `${lines.join('\n')}\n`)
    await repo.commit()
    const push = await repo.push('hypeman', 'main')
    assert.ok(push.buildId, push.text)
    const headers = { authorization: `Bearer ${token}` }
    const reply = await fetch(`${server.url}/builds/${push.buildId}/connections`, { headers })
    const { network_connections: events } = (await reply.json()) as {
      network_connections: NetworkConnection[]
    }
    return { text: push.text, build: await server.build(push.buildId, token), events }
  }
  const url = `http://${host}:${web.port}/payload`
  const copy = ['FROM scratch', 'COPY fetch busybox /']
  const open = await pushOf('open', undefined, [...copy, `RUN ["/fetch", "${url}"]`])
  const listed = await pushOf(
    'listed',
    ['*.example.com'],
    [...copy, `RUN ["/busybox", "sh", "-c", "! /fetch ${url}"]`],
  )
  const based = await pushOf('based', ['*.example.com'], [`FROM ${host}:${web.port}/base:1`])

  await t.test('without a list the step gets through, and is named', () => {
    assert.equal(open.build.status, 'ready', open.text)
    assert.match(open.text, /payload from outside/)
    const [made, ended] = open.events
    assert.equal(made?.function, 'tcp_connect')
    assert.match(made.process, /\/fetch$/)
    assert.equal(made.src_addr, '127.0.0.1')
    assert.deepEqual([made.host, made.dst_addr, made.dst_port], [host, address, web.port])
    assert.equal(ended?.function, 'tcp_close')
    assert.match(open.text, /\[OBSERVABILITY\] summary: 1 connections/)
    assert.equal(open.build.provenance?.network?.connections, 1)
  })

  await t.test('with a list the step is refused, and the push says so', () => {
    assert.equal(listed.build.status, 'ready', listed.text)
    const refusal = `egress refused: ${host}:${web.port} is not in allowed_domains`
    assert.ok(listed.text.includes(refusal), listed.text)
    assert.deepEqual(
      listed.events.map((event) => event.function),
      ['egress_refused'],
    )
  })

  await t.test('a base image follows the same list', () => {
    assert.equal(based.build.failure_class, 'build', based.text)
    assert.ok(based.text.includes(`egress refused: ${host}:${web.port} is not in allowed_domains`))
    assert.match(based.events[0]?.process ?? '', /buildkitd$/)
  })

  assert.deepEqual(web.requests, ['/payload'])
})
