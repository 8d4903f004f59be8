// Workers that share nothing with the server but the database and a bucket, as on other machines.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Build } from '../../server/builds/schema.ts'
import { pathsFor } from '../../server/paths.ts'
import { givenApp, skopeo } from '../helpers/apps.ts'
import { CONTENT, trackModel } from '../helpers/git-lfs.ts'
import { leftovers } from '../helpers/leftovers.ts'
import { givenObjectStorage, storageEnv } from '../helpers/object-storage.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'
import { post, tarGzOf } from '../helpers/sources.ts'
import { until } from '../helpers/until.ts'
import { givenWorkerProcess } from '../helpers/worker-process.ts'

const LIMIT = { timeout: 300_000 }

/** Whatever the storage was configured to be, there is nothing in the folder that it would be without. */
async function localObjects(dataDir: string): Promise<string[]> {
  const { objects } = pathsFor(dataDir)
  const found = await readdir(objects, { recursive: true, withFileTypes: true }).catch(() => [])
  return found.filter((entry) => entry.isFile()).map(({ name }) => name)
}

async function requirePullable(token: string, build: Build): Promise<void> {
  const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
  const inspected = await skopeo('inspect', ...creds, `docker://${build.image_ref}`)
  assert.equal(JSON.parse(inspected).Digest, build.image_digest)
}

test(
  'sources in a bucket: pushes with git-lfs and uploads are built by a worker that shares no folder, and its builds by another when it is killed',
  LIMIT,
  async (t) => {
    const storage = await givenObjectStorage(t)
    const env = storageEnv(storage.settings)
    const server = await givenServer(t, { ROLE: 'server', RUNNER: await fastestRunner(), ...env })
    const token = await server.token('ada')
    const first = await givenWorkerProcess(t, server, { ...env, METRICS_PORT: '0' })

    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const dockerfile = (line: string) => `FROM scratch
COPY busybox /bin/busybox
COPY model.bin /
RUN ["/bin/busybox", "wc", "-c", "/model.bin"]
RUN ["/bin/busybox", "echo", "${line}"]
RUN ["/bin/busybox", "sleep", "2"]
`
    await repo.write('Dockerfile', dockerfile('one'))
    await trackModel(repo)
    const pushed = await repo.push('hypeman', 'main')
    assert.equal(pushed.exitCode, 0, `${pushed.text}\n${first.logged()}`)
    assert.match(pushed.text, new RegExp(`^ *${CONTENT.length} /model\\.bin`, 'm'))
    const built = await server.build(pushed.buildId!, token)
    assert.equal(built.status, 'ready', built.error)
    await requirePullable(token, built)

    const archive = await tarGzOf(
      [{ name: 'Dockerfile' }, 'FROM scratch\nCOPY x /\n'],
      [{ name: 'x' }, 'x'],
    )
    const asked = await server.api('/builds', token, post(['source', archive]))
    assert.equal(asked.status, 202)
    const { id } = (await asked.json()) as Build
    const uploaded = await server.ended(id, token)
    assert.equal(uploaded.status, 'ready', `${uploaded.error}\n${first.logged()}`)
    await requirePullable(token, uploaded)

    const at = /"url":"(http:\/\/127\.0\.0\.1:\d+\/metrics)"/.exec(first.logged())?.[1]
    const metrics = await (await fetch(at!)).text()
    assert.match(metrics, /^hypeman_vm_boot_seconds_count\{[^}]*\} 2/m)
    assert.match(metrics, /^hypeman_disk_free_bytes \d/m)
    assert.doesNotMatch(metrics, /acme|ada|hello/)

    await repo.write('Dockerfile', dockerfile('two'))
    await repo.commit('another')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/Builder (VM|sandbox) ready/)
    first.kill('SIGKILL')
    await first.ended
    const second = await givenWorkerProcess(t, server, env)
    // As if the lease had run out.
    await server.sql(
      `update builds set lease_until = now() - interval '1 s' where status <> 'ready'`,
    )
    const done = await push.done
    const last = await server.build(done.buildId!, token)
    assert.equal(last.status, 'ready', `${done.text}\n${second.logged()}`)
    assert.equal(last.attempt, 2)
    await requirePullable(token, last)
    const [row] = await server.sql<{ worker: string }>(
      `select worker from builds where id = '${last.id}'`,
    )
    assert.equal(row?.worker, second.name)

    for (const { dataDir } of [server, first, second]) {
      assert.deepEqual(await localObjects(dataDir), [])
      const { fetchedObjects, fetchedLfsObjects } = pathsFor(dataDir)
      const kept = dataDir === first.dataDir ? [] : [fetchedObjects, fetchedLfsObjects]
      for (const folder of kept) assert.deepEqual(await readdir(folder).catch(() => []), [])
    }
    await until(
      'the processes of the first worker to be gone',
      async () => (await leftovers(first.dataDir)).processes.length === 0,
    )
  },
)

test(
  'a bucket of another installation is refused by the server, and one that is not the server’s by a worker',
  LIMIT,
  async (t) => {
    const storage = await givenObjectStorage(t)
    const env = storageEnv(storage.settings)
    const server = await givenServer(t, { ROLE: 'server', ...env })
    await assert.rejects(
      givenServer(t, { ROLE: 'server', ...env }),
      /ended with 1: [\s\S]*OBJECTS: s3:\/\/builds\/prod is of another installation [\s\S]*delete s3:\/\/builds\/prod\/installation/,
    )
    const own = await mkdtemp(join(tmpdir(), 'hm-own-'))
    t.after(() => rm(own, { recursive: true, force: true }))
    for (const [wrong, says] of [
      [storageEnv(storage.settings, 'test'), /OBJECTS: s3:\/\/builds\/test is not where this/],
      [{ OBJECTS: own }, /OBJECTS: \S+ is not where this installation \S+ keeps its objects/],
    ] as const) {
      await assert.rejects(givenWorkerProcess(t, server, wrong), says)
    }
  },
)
