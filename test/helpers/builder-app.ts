// Pushes to an app whose builder is a real disk in a real guest, and what is left of it.
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Build } from '../../server/builds/schema.ts'
import { followEvents, givenApp } from './apps.ts'
import { type Repo, remoteUrl } from './repo.ts'
import { givenServer, type TestServer } from './server.ts'

export const BUILDER_DOCKERFILE = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
COPY input /input
RUN --mount=type=cache,target=/cache /bin/busybox cat /input >>/cache/seen && echo "cache has: $(/bin/busybox xargs </cache/seen)" && test "$(/bin/busybox cat /input)" != bad
`

export interface Row {
  generation: string | null
  status: string
}

/** The app `hello`, whose steps read the file `input` and add to a cache mount. */
export async function givenBuilderApp(t: TestContext) {
  const server = await givenServer(t)
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  await repo.write('Dockerfile', BUILDER_DOCKERFILE)
  return { server, token, repo, files: () => imagesOf(server) }
}

/** Pushes the file `input` with this text; resolves with the build and its log. */
export async function built({ server, token, repo }: Built, input: string) {
  await repo.write('input', `${input}\n`)
  await repo.commit(input).catch(() => repo.git('commit', '--allow-empty', '-m', input))
  // After a restart it listens on another port.
  await repo.git('remote', 'set-url', 'hypeman', remoteUrl(server.url, token, '/hello.git'))
  const { buildId, text } = await repo.push('hypeman', 'main')
  assert.ok(buildId, text + server.logged())
  const build = (await server.ended(buildId, token)) as Build
  const events = await followEvents(server, buildId, token)
  const lines = events.flatMap(({ type, content }) => (type === 'log' ? [String(content)] : []))
  return { build, lines }
}

export interface Built {
  server: TestServer
  token: string
  repo: Repo
}

async function imagesOf(server: TestServer): Promise<string[]> {
  const root = join(server.dataDir, 'builders')
  return (await readdir(root, { recursive: true }).catch(() => [])).filter((name) =>
    name.endsWith('.img'),
  )
}

export async function row(server: TestServer): Promise<Row> {
  const [found] = await server.sql<Row>('select generation, status from builders')
  return found!
}

/** Until nobody has the builder any more: its disk is saved, or is not. */
export async function untilFree(server: TestServer): Promise<Row> {
  for (;;) {
    const [busy] = await server.sql('select 1 from builders where lease_token is not null')
    if (!busy) return row(server)
    await sleep(200)
  }
}

/** How its RUN steps came out. */
export async function runSteps({ server, token }: Built, id: string): Promise<string[]> {
  const answer = await server.api(`/builds/${id}/steps`, token)
  const steps = (await answer.json()) as { name: string; state: string }[]
  return steps.filter(({ name }) => name.includes('] RUN ')).map(({ state }) => state)
}
