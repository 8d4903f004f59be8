// A build says the same of itself wherever it ran: in the server's own process, or on a worker of another machine.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { BuildConnections } from '../../server/builds/connections.ts'
import { followEvents, givenApp, givenSettings } from '../helpers/apps.ts'
import { type BaseRegistry, givenBaseRegistry } from '../helpers/base-registry.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'
import { givenWorkerProcess } from '../helpers/worker-process.ts'

const DOCKERFILE = `FROM base:1
RUN --mount=type=secret,id=npm_token cat /run/secrets/npm_token
RUN ! wget -q -O /dev/null http://elsewhere.example/x
RUN echo done
`

async function builtBy(t: TestContext, role: 'all' | 'server', hub: BaseRegistry) {
  const server = await givenServer(t, {
    ROLE: role,
    RUNNER: await fastestRunner(),
    REGISTRY_MIRRORS: `docker.io=${hub.url}`,
  })
  if (role === 'server') await givenWorkerProcess(t, server)
  const token = await server.token('ada')
  await givenSettings(server, token, 'web', {
    policy: { network_mode: 'egress', allowed_domains: ['example.org'] },
    secrets: [{ id: 'npm_token' }],
    attestations: { provenance: 'max', sbom: false },
  })
  await server.api('/apps/web/secrets/npm_token', token, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value: 'hunter2-and-more' }),
  })
  const repo = await givenApp(t, server, token, 'web')
  await repo.write('Dockerfile', DOCKERFILE)
  await repo.commit()
  const push = await repo.push('hypeman', 'main')
  const build = await server.build(push.buildId!, token)
  assert.equal(build.status, 'ready', push.text)
  const events = await followEvents(server, build.id, token)
  const reply = await server.api(`/builds/${build.id}/connections`, token)
  const connections = (await reply.json()) as BuildConnections
  const config = await (await server.api(`/builds/${build.id}/config`, token)).json()
  return {
    lines: new Set(
      events.filter(({ type }) => type === 'log').map(({ content }) => kindOf(String(content))),
    ),
    fields: fieldsOf(build),
    provenance: build.provenance!,
    connections,
    config: fieldsOf(config),
  }
}

/** A line without what is another each time: times, sizes, ids, digests, ports. */
function kindOf(line: string): string {
  return line
    .replace(/\b[0-9a-f]{32,}\b/g, '#')
    .replace(/\b[a-z][a-z0-9]{23}\b/g, '#')
    .replace(/\d+(\.\d+)?/g, '0')
}

/** Paths of all that it has, whatever its values are. */
function fieldsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [path]
  return Object.entries(value)
    .flatMap(([name, inner]) => fieldsOf(inner, `${path}.${Array.isArray(value) ? '*' : name}`))
    .filter((field, i, all) => all.indexOf(field) === i)
    .sort()
}

test('log, connections, provenance and fields of a build are the same in role all and on a worker of its own', {
  timeout: 300_000,
}, async (t) => {
  const hub = await givenBaseRegistry(t)
  const here = await builtBy(t, 'all', hub)
  const there = await builtBy(t, 'server', hub)

  const mirrored = 'docker.io/library/base:0 comes from its registry, through the mirror'
  assert.ok(here.lines.has(mirrored), [...here.lines].join('\n'))
  assert.ok([...here.lines].some((line) => line.startsWith('egress refused: elsewhere.example')))
  assert.ok(here.lines.has('Secrets: npm_token'))
  assert.deepEqual([...there.lines].sort(), [...here.lines].sort())
  assert.deepEqual(there.fields, here.fields)
  assert.deepEqual(there.config, here.config)

  assert.ok(here.connections.network_connections.length > 0)
  const shown = ({ network_connections: events, complete }: BuildConnections) => ({
    complete,
    events: events.map((event) => [event.function, event.host, event.dst_port, event.process]),
    fields: fieldsOf(events),
  })
  assert.deepEqual(shown(there.connections), shown(here.connections))

  const same = ['network', 'base_images', 'base_image_digest', 'buildkit_version'] as const
  for (const name of same) assert.deepEqual(there.provenance[name], here.provenance[name], name)
})
