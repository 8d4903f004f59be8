// Builders in real guests: state that lasts from build to build, and everything that must not become state.
import assert from 'node:assert/strict'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { givenSettings } from '../helpers/apps.ts'
import {
  BUILDER_DOCKERFILE,
  built,
  givenBuilderApp,
  runSteps,
  untilFree,
} from '../helpers/builder-app.ts'
import { leftovers, qemuPids } from '../helpers/leftovers.ts'

test('the second build of an unchanged source runs nothing, a changed one finds its cache mount; a failed one changes nothing', async (t) => {
  const env = await givenBuilderApp(t)
  const { server, files } = env
  const first = await built(env, 'one')
  assert.equal(first.build.status, 'ready', first.build.error + server.logged())
  assert.ok(first.build.builder_id)
  assert.ok(first.lines.includes(`Builder ${first.build.builder_id} is empty`))
  assert.ok(first.lines.includes('cache has: one'), first.lines.join('\n'))
  const one = await untilFree(server)
  assert.equal(one.generation, `${first.build.id}-1`, server.logged())
  const [image] = await files()
  const { blocks } = await stat(join(server.dataDir, 'builders', image!))
  t.diagnostic(`the disk takes ${Math.round((blocks * 512) / 1024 ** 2)} MiB`)

  const again = await built(env, 'one')
  assert.equal(again.build.status, 'ready', again.build.error)
  assert.deepEqual(await runSteps(env, again.build.id), ['cached', 'cached'])
  assert.ok(again.build.steps!.cached >= 4)
  assert.deepEqual(
    again.lines.filter((line) => line.startsWith('cache has')),
    [],
  )
  assert.equal((await untilFree(server)).generation, `${again.build.id}-1`)

  const bad = await built(env, 'bad')
  assert.equal(bad.build.failure_class, 'build')
  assert.ok(bad.lines.includes('cache has: one bad'))
  assert.equal((await untilFree(server)).generation, `${again.build.id}-1`)

  const two = await built(env, 'two')
  assert.ok(two.lines.includes('cache has: one two'), two.lines.join('\n'))
  assert.deepEqual(await runSteps(env, two.build.id), ['cached', 'done'])
  await untilFree(server)
  assert.equal((await files()).length, 1)
  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  t.diagnostic(`builds took ${[first, again, bad, two].map(({ build }) => build.duration_ms)} ms`)
})

test('a corrupted disk costs a cold build; a server killed while it saves leaves the old state and no orphan', async (t) => {
  const env = await givenBuilderApp(t)
  const { server, files } = env
  const first = await built(env, 'one')
  assert.equal(first.build.status, 'ready', first.build.error)
  await untilFree(server)

  // Killed when the build is ready and its guest still puts the disk in order.
  const second = await built(env, 'two')
  assert.equal(second.build.status, 'ready')
  await server.kill('SIGKILL')
  await server.restart()
  const { generation } = await untilFree(server)
  assert.ok([`${first.build.id}-1`, `${second.build.id}-1`].includes(generation!))
  t.diagnostic(generation === `${first.build.id}-1` ? 'killed before the swap' : 'after the swap')
  for (let i = 0; i < 50 && (await files()).length > 1; i += 1) await sleep(100)
  const [image, ...more] = await files()
  assert.deepEqual(more, [])
  assert.match(image!, new RegExp(`${generation}\\.img$`))
  assert.deepEqual(await qemuPids(server.pid), [])

  const handle = await open(join(server.dataDir, 'builders', image!), 'r+')
  await handle.write(Buffer.alloc(64 * 1024, 0xa5), 0, 64 * 1024, 0)
  await handle.close()
  const third = await built(env, 'three')
  assert.equal(third.build.status, 'ready', third.build.error)
  assert.ok(third.lines.some((line) => /starts anew: it cannot be mounted/.test(line)))
  assert.ok(third.lines.includes('cache has: three'), third.lines.join('\n'))
  assert.equal((await untilFree(server)).generation, null)

  const fourth = await built(env, 'four')
  assert.ok(fourth.lines.includes('cache has: four'))
  assert.equal((await untilFree(server)).generation, `${fourth.build.id}-1`)
})

test('a builder that is getting full is pruned in its guest', async (t) => {
  const env = await givenBuilderApp(t)
  const { server, token, repo, files } = env
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ id: 'small', disk_size_gb: 1 })
  const made = await server.api('/builders', token, { method: 'POST', headers, body })
  assert.equal(made.status, 201)
  await givenSettings(server, token, 'hello', { builder: 'small' })
  const filling = (id: string) =>
    `${BUILDER_DOCKERFILE}RUN --mount=type=cache,id=${id},target=/big /bin/busybox dd if=/dev/zero of=/big/file bs=1M count=400\n`
  for (const id of ['a', 'b']) {
    await repo.write('Dockerfile', filling(id))
    const { build } = await built(env, id)
    assert.equal(build.status, 'ready', build.error)
    assert.equal(build.builder_id, 'small')
    assert.equal((await untilFree(server)).generation, `${build.id}-1`, server.logged())
  }
  const [image] = await files()
  const file = join(server.dataDir, 'builders', image!)
  const { blocks } = await stat(file)
  const usedMb = Math.round((blocks * 512) / 1e6)
  t.diagnostic(`after two times 400 MB the disk takes ${usedMb} MB`)
  assert.ok(usedMb < (0.6 * 1024 ** 3) / 1e6, `${usedMb} MB`)
})
