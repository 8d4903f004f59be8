// The server and the pod killed while an image is pushed and while a cache is exported: nothing half is seen, and
// the next build is right.
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Build } from '../../server/builds/schema.ts'
import { pathsFor } from '../../server/paths.ts'
import { givenApp } from '../helpers/apps.ts'
import { leftovers, podPids } from '../helpers/leftovers.ts'
import { type Repo, remoteUrl } from '../helpers/repo.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'
import { formOf } from '../helpers/sources.ts'

/** One large layer that is only in the cache, and one that is in the image too. */
const DOCKERFILE = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
FROM base AS tools
RUN /bin/busybox dd if=/dev/urandom of=/tool bs=1M count=40
FROM base
COPY round /
RUN --mount=from=tools,target=/tools /bin/busybox dd if=/dev/urandom of=/big bs=1M count=40
`
const CACHE = 'cache/acme/hello'

interface Setting {
  server: TestServer
  token: string
  repo: Repo
}

async function given(t: TestContext): Promise<Setting> {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada', { tenant: 'acme' })
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  await repo.write('Dockerfile', DOCKERFILE)
  return { server, token, repo }
}

/** Pushes a change and does not wait for its build; resolves with its id. */
async function begun({ server, token, repo }: Setting, round: string): Promise<string> {
  await repo.write('round', round)
  await repo.commit(round)
  await repo.git('remote', 'set-url', 'hypeman', remoteUrl(server.url, token, '/hello.git'))
  const push = repo.startPush('hypeman', 'main')
  await push.line(/Starting the builder/)
  push.interrupt()
  await push.done
  const builds = (await (await server.api('/builds?app=hello', token)).json()) as Build[]
  return builds[0]!.id
}

/** Until something is being written into this repository of the registry. */
async function uploading({ dataDir }: TestServer, repository: string): Promise<void> {
  const root = join(pathsFor(dataDir).registry, 'docker/registry/v2/repositories', repository)
  while ((await readdir(join(root, '_uploads')).catch(() => [])).length === 0) await sleep(5)
}

/** What can be pulled by a name. */
async function tags({ server, token }: Setting, repository: string): Promise<string[]> {
  const reply = await server.api(`/v2/${repository}/tags/list`, token)
  if (reply.status === 404) return []
  return ((await reply.json()) as { tags: string[] | null }).tags ?? []
}

async function lines({ server, token }: Setting, id: string): Promise<string> {
  const headers = { accept: 'text/plain' }
  return (await server.api(`/builds/${id}/events`, token, { headers })).text()
}

/** A build that nobody disturbs: it uses what there is, and the one after it uses everything. */
async function checkNext(setting: Setting, round: string): Promise<void> {
  const { server, token } = setting
  const id = await begun(setting, round)
  const next = await server.ended(id, token)
  assert.equal(next.status, 'ready', next.error)
  const log = await lines(setting, id)
  assert.doesNotMatch(log, /could not be imported|was not exported/)
  assert.equal(next.provenance?.cache?.exported, CACHE)
  const rebuilt = await server.api('/builds', token, {
    method: 'POST',
    body: formOf(['app', 'hello'], ['ref', 'main']),
  })
  const again = await server.ended(((await rebuilt.json()) as Build).id, token)
  assert.equal(again.image_digest, next.image_digest)
  assert.equal(again.provenance?.cache?.source, 'registry')
  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
}

for (const [what, repositoryOf] of [
  ['an image is pushed', (id: string) => `builds/${id}`],
  ['a cache is exported', () => CACHE],
] as const) {
  test(`a server killed while ${what} shows nothing half, and builds once more`, async (t) => {
    const setting = await given(t)
    const { server, token, repo } = setting
    const id = await begun(setting, 'one')
    await uploading(server, repositoryOf(id))
    await server.kill('SIGKILL')
    await server.restart()
    assert.deepEqual(await tags(setting, `builds/${id}`), [])
    assert.deepEqual(await tags(setting, 'apps/acme/hello'), [])
    await repo.git('remote', 'set-url', 'hypeman', remoteUrl(server.url, token, '/hello.git'))
    assert.equal(await repo.git('ls-remote', '--tags', 'hypeman'), '')
    const build = await server.ended(id, token)
    assert.equal(build.status, 'ready', build.error)
    assert.equal(build.attempt, 2)
    assert.ok((await tags(setting, `builds/${id}`)).includes('latest'))
    await checkNext(setting, 'two')
  })

  test(`a pod killed while ${what} shows nothing half, and the next build is right`, async (t) => {
    const setting = await given(t)
    const { server, token } = setting
    const id = await begun(setting, 'one')
    await uploading(server, repositoryOf(id))
    const [pid, ...more] = await podPids(server.pid)
    assert.ok(pid !== undefined && more.length === 0)
    process.kill(pid, 'SIGKILL')
    if (what === 'an image is pushed') assert.deepEqual(await tags(setting, 'apps/acme/hello'), [])
    const build = await server.ended(id, token)
    if (what === 'an image is pushed') {
      // What the machine breaks is tried once more.
      assert.equal(build.status, 'ready', build.error)
      assert.equal(build.attempt, 2)
      assert.match(await lines(setting, id), /; once more in a new sandbox/)
    } else {
      // Its image was there before the cache.
      assert.equal(build.status, 'ready', build.error)
      assert.equal(build.provenance?.cache?.exported, undefined)
      assert.deepEqual(await tags(setting, CACHE), [])
    }
    await checkNext(setting, 'two')
  })
}
