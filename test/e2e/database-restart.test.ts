// The server's own PostgreSQL dies and comes back while a build runs, another one waits, a push comes in and somebody
// follows: nothing that was said or accepted is lost.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Build } from '../../server/builds/schema.ts'
import { pathsFor } from '../../server/paths.ts'
import { givenApp } from '../helpers/apps.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'
import { until } from '../helpers/until.ts'

const LIMIT = { timeout: 400_000 }
const TICKS = 25

const DOCKERFILE = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
RUN for i in $(/bin/busybox seq 1 ${TICKS}); do echo "tick $i"; /bin/busybox sleep 1; done
`
const EXPECTED = Array.from({ length: TICKS }, (_, n) => `tick ${n + 1}`)

async function databasePid({ dataDir }: TestServer): Promise<number> {
  const file = join(pathsFor(dataDir).database, 'postmaster.pid')
  return Number((await readFile(file, 'utf8').catch(() => '')).split('\n')[0])
}

/** Reads a build's events over one connection, as they come. */
function follow(server: TestServer, id: string, token: string) {
  const seen: { id: number; data: Record<string, unknown> }[] = []
  const done = (async () => {
    const reply = await server.api(`/builds/${id}/events?follow=true`, token)
    let rest = ''
    const decoder = new TextDecoder()
    for await (const part of reply.body!) {
      rest += decoder.decode(part as Uint8Array, { stream: true })
      const frames = rest.split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) {
        const [, number, text = '{}'] = /^id: (\d+)\ndata: (.*)$/s.exec(frame) ?? []
        if (number) seen.push({ id: Number(number), data: JSON.parse(text) })
      }
    }
  })()
  return { seen, done }
}

async function buildsOf(server: TestServer, token: string, app: string): Promise<Build[]> {
  const reply = await server.api(`/builds?app=${app}`, token)
  return (await reply.json()) as Build[]
}

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  test(
    `PostgreSQL gets ${signal}: what runs and what waits is built, followers and pushes see it all`,
    LIMIT,
    async (t) => {
      const server = await givenServer(t, {
        RUNNER: await fastestRunner(),
        MAX_CONCURRENT_SOURCE_BUILDS: '1',
      })
      const token = await server.token('ada')
      const long = await givenApp(t, server, token, 'long', 'hello')
      await long.write('Dockerfile', DOCKERFILE)
      await long.commit('tick')
      const first = long.startPush('hypeman', 'main')
      await first.line(/tick 1$/)
      const [running] = await buildsOf(server, token, 'long')
      const follower = follow(server, running!.id, token)
      const waits = await givenApp(t, server, token, 'waits', 'hello')
      const second = waits.startPush('hypeman', 'main')
      await second.line(/Build \S+ queued/)
      const late = await givenApp(t, server, token, 'late', 'hello')

      const before = await databasePid(server)
      process.kill(before, signal)
      const third = await late.push('-o', 'detach', 'hypeman', 'main')
      // Either it came in time, or it is told that it has to come again.
      if (third.exitCode !== 0) assert.match(third.text, /database/)
      await until(
        'another PostgreSQL to run',
        async () => ![0, before].includes(await databasePid(server)),
      )
      await until('the server to be well', async () => (await server.api('/health', token)).ok)
      assert.match(server.logged(), /PostgreSQL ended; starting it again/)
      if (third.exitCode !== 0) {
        const again = await late.push('-o', 'detach', 'hypeman', 'main')
        assert.equal(again.exitCode, 0, again.text)
      }

      const [one, two] = await Promise.all([first.done, second.done])
      assert.equal(one.exitCode, 0, one.text)
      assert.match(one.text, /success: build/)
      assert.match(two.text, /success: build/)
      assert.deepEqual(one.text.match(/tick \d+$/gm), EXPECTED)
      await follower.done
      const lines = follower.seen.map(({ data }) => String(data.content ?? ''))
      assert.deepEqual(
        lines.filter((line) => line.startsWith('tick ')),
        EXPECTED,
      )
      assert.deepEqual(
        follower.seen.map(({ id }) => id),
        follower.seen.map((_, n) => n + 1),
      )
      for (const app of ['long', 'waits', 'late']) {
        const [build, ...others] = await buildsOf(server, token, app)
        assert.equal(others.length, 0)
        const ended = await server.ended(build!.id, token)
        assert.deepEqual([ended.status, ended.attempt], ['ready', 1], ended.error)
      }
    },
  )
}

test(
  'a gated push whose PostgreSQL dies while it builds passes, or says why not and may be repeated',
  LIMIT,
  async (t) => {
    const server = await givenServer(t, { RUNNER: await fastestRunner() })
    const token = await server.token('ada')
    const repo = await givenApp(t, server, token, 'gated', 'hello')
    await repo.write('Dockerfile', DOCKERFILE)
    await repo.commit('tick')
    const commit = await repo.git('rev-parse', 'HEAD')
    const tip = async () =>
      (await repo.git('ls-remote', 'hypeman', 'refs/heads/main')).split(/\s/)[0] ?? ''
    const push = repo.startPush('-o', 'gate', 'hypeman', 'main')
    await push.line(/tick 1$/)
    const before = await databasePid(server)
    process.kill(before, 'SIGKILL')
    await until('another PostgreSQL', async () => ![0, before].includes(await databasePid(server)))
    await until('the server to be well', async () => (await server.api('/health', token)).ok)

    const first = await push.done
    if (first.exitCode !== 0) {
      assert.match(first.text, /\[remote rejected\] main -> main \(.*(database|build server)/)
      assert.equal(await tip(), '')
      const again = await repo.push('-o', 'gate', 'hypeman', 'main')
      assert.equal(again.exitCode, 0, again.text)
    }
    assert.equal(await tip(), commit)
    const ends = await Promise.all(
      (await buildsOf(server, token, 'gated')).map(({ id }) => server.ended(id, token)),
    )
    // The branch has moved once, by a build that has passed; what was refused has ended too.
    assert.deepEqual(
      ends.map(({ status }) => status),
      first.exitCode === 0 ? ['ready'] : ['ready', 'cancelled'],
    )
    t.diagnostic(first.exitCode === 0 ? 'it passed' : first.text)
  },
)
