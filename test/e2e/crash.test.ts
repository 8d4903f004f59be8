// The promise of the queue: Ctrl-C, a killed server, a crash at the worst moment lose nothing.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Build } from '../../server/builds/schema.ts'
import { followEvents, givenApp } from '../helpers/apps.ts'
import { leftovers, qemuPids } from '../helpers/leftovers.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'

async function onlyBuild(server: TestServer, token: string, app: string): Promise<Build> {
  const builds = (await (await server.api(`/builds?app=${app}`, token)).json()) as Build[]
  assert.equal(builds.length, 1)
  return builds[0]!
}

test('Ctrl-C detaches: the build finishes and its log is complete', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/Builder (VM|sandbox) ready/)
  push.interrupt()
  await push.done
  const { id } = await onlyBuild(server, token, 'hello')
  const events = await followEvents(server, id, token)
  assert.equal(events.at(-1)?.status, 'ready')
  const logged = events.filter(({ type }) => type === 'log').map(({ content }) => content)
  assert.deepEqual(
    logged.filter((line) => /^counting/.test(String(line))),
    ['counting 1', 'counting 2', 'counting 3'],
  )
})

test('weakness 14: a server killed in the middle of a build builds it again once, and nothing of the dead run remains', async (t) => {
  const server = await givenServer(t)
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/Builder VM ready/)
  assert.equal((await qemuPids(server.pid)).length, 1)
  await server.kill('SIGKILL')
  await push.done
  // git's own processes end with their next write, the children by their parent-death signal.
  for (let i = 0; i < 100 && (await leftovers(server.dataDir)).processes.length > 0; i += 1) {
    await sleep(100)
  }
  assert.deepEqual((await leftovers(server.dataDir)).processes, [])

  await server.restart()
  const { id } = await onlyBuild(server, token, 'hello')
  const build = await server.ended(id, token)
  assert.equal(build.status, 'ready', build.error)
  assert.equal(build.attempt, 2)
  const statuses = (await followEvents(server, id, token))
    .filter(({ type }) => type === 'status')
    .map(({ status }) => status)
  assert.deepEqual(statuses, ['queued', 'building', 'queued', 'building', 'pushing', 'ready'])
  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  assert.deepEqual(await qemuPids(server.pid), [])
})

test('a server killed between the ref’s move and its intake queues the build after its restart', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  // The server's own copy of the hook waits instead of reporting, so that the moment can be hit; it ends with
  // its git.
  const hook = join(server.dataDir, 'staged/hooks/post-receive')
  const original = await readFile(hook)
  await writeFile(
    hook,
    '#!/bin/sh\necho "waiting to be killed"\nwhile kill -0 "$PPID"; do sleep 0.1; done\n',
  )
  const push = repo.startPush('hypeman', 'main')
  await push.line(/waiting to be killed/)
  const rows = await server.sql<{ count: number }>('select count(*)::int as count from builds')
  assert.equal(rows[0]?.count, 0)
  await server.kill('SIGKILL')
  await writeFile(hook, original)
  push.interrupt('SIGKILL')
  await Promise.race([once(push.child, 'close'), sleep(5000)])

  await server.restart()
  const { id } = await onlyBuild(server, token, 'hello')
  const build = await server.ended(id, token)
  assert.equal(build.status, 'ready', build.error)
  assert.equal(build.attempt, 1)
  assert.equal(build.commit, await repo.git('rev-parse', 'HEAD'))
})

test('weakness 15: SIGTERM hands a running build back, and the next start builds it without counting an attempt', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner(), DRAIN_TIMEOUT: '0' })
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/Builder (VM|sandbox) ready/)
  const started = Date.now()
  await server.kill('SIGTERM')
  t.diagnostic(`shutdown took ${Date.now() - started} ms`)
  await push.done
  const left = await leftovers(server.dataDir)
  assert.deepEqual(left, { processes: [], podFiles: [] })
  await server.restart()
  const { id } = await onlyBuild(server, token, 'hello')
  const build = await server.ended(id, token)
  assert.equal(build.status, 'ready', build.error)
  assert.equal(build.attempt, 1)
})
