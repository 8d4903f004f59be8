// A small history for the auditor to look at: real pushes to real repositories, a worker that is played, images in
// a real registry; and the ends a build can come to, each of them once.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { createBuildLog } from '../../server/builds/log.ts'
import type { BuildRow } from '../../server/builds/store.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { tagCommit } from '../../server/git/tags.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { reap } from '../../server/queue/reaper.ts'
import { createRegistryClient, type RegistryClient } from '../../server/registry/client.ts'
import { silent } from '../helpers/database.ts'
import { aborted, type FakeRun, givenWorker, PROVENANCE } from '../helpers/fake-worker.ts'
import { givenFinish } from '../helpers/finish.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { pushImage } from '../helpers/oci.ts'
import { bearer, buildToken, givenProxy, givenRegistry, operator } from '../helpers/registry.ts'
import type { Repo } from '../helpers/repo.ts'
import type { AuditInput, Pushed } from './audit.ts'
import { untilRow } from './until-row.ts'

/** What becomes of a build; its push says so. */
type Fate = 'well' | 'fail' | 'lose-once' | 'wait'

export interface Audited {
  server: GitServer
  /** The client's repositories. */
  web: Repo
  /** Builds by what became of them. */
  builds: Record<'first' | 'failed' | 'lost' | 'cancelled' | 'newest' | 'gated', BuildRow>
  /** Where the registry keeps its data. */
  registryDir: string
  registry: RegistryClient
  input: AuditInput
}

export async function givenAudited(t: TestContext): Promise<Audited> {
  const server = await givenGitServer(t)
  const { db, listener, repositories, git } = server
  const { dir, upstream } = await givenRegistry(t)
  const proxy = await givenProxy(t, upstream, { tenantOfBuild: async () => 'acme' })
  const registry = createRegistryClient({ upstream })
  const play = (run: FakeRun) => playFate(run, server, proxy.url)
  const worker = await givenWorker(t, server, play, { slots: 2 })
  const finish = givenFinish(t, {
    db,
    listener,
    tagImage: registry.tag,
    publishImage: registry.publish,
    async tagCommit({ id, appId, commit }) {
      const gitdir = repositories.path(appId!)
      await tagCommit({
        gitdir,
        name: `builds/${id}`,
        commit: commit!,
        message: id,
        user: git.user,
      })
    },
    retryMs: 50,
  })

  const pushes: Pushed[] = []
  const web = await server.givenClient(t, 'web')
  const push = async (repo: Repo, app: string, fate: Fate, refspec = 'main') => {
    const commit = await repo.commit(`${fate} ${pushes.length}`)
    const { exitCode } = await repo.push('hypeman', '-o', `build-arg=FATE=${fate}`, refspec)
    const outcome = exitCode === 0 ? 'accepted' : 'refused'
    pushes.push({
      repository: app,
      ref: `refs/heads/${refspec.replace(/^.*:/, '')}`,
      commit,
      outcome,
    })
    return commit
  }
  const built = async (commit: string) =>
    (await server.builds()).find((build) => build.commit === commit)!

  const first = await push(web, 'web', 'well')
  const failed = await push(web, 'web', 'fail')
  const lost = await push(web, 'web', 'lose-once')
  const newest = await push(web, 'web', 'well')
  await push(web, 'web', 'well', 'main:draft')
  const waiting = push(web, 'web', 'wait')
  const { id } = await untilRow(
    () => server.builds(),
    ({ status, request }) => status === 'building' && request.build_args?.FATE === 'wait',
  )
  const store = createBuildStore({ db })
  const queue = createQueue({ db, store, buildLog: createBuildLog({ db, listener }) })
  assert.equal(await queue.cancel(id), 'stopping')
  const cancelled = await waiting
  const safe = await server.givenClient(t, 'safe')
  const principal = { user: 'ada', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' }
  await server.apps.create(principal, { name: 'safe', settings: { gate: true } })
  const gated = await push(safe, 'safe', 'well')
  await push(safe, 'safe', 'fail')
  assert.deepEqual(
    pushes.map(({ outcome }) => outcome),
    [...Array(7).fill('accepted'), 'refused'],
  )
  await untilRow(
    async () => [(await server.builds()).every(({ completedAt }) => completedAt)],
    (isOver) => isOver,
  )
  // From here on nobody but the test changes anything.
  await worker.stop()
  await finish.stop()
  const names = { first, failed, lost, cancelled, newest, gated }
  const entries = Object.entries(names).map(async ([name, commit]) => [name, await built(commit)])
  return {
    server,
    web,
    builds: Object.fromEntries(await Promise.all(entries)),
    registryDir: join(dir, 'data/docker/registry/v2'),
    registry,
    input: {
      databaseUrl: server.databaseUrl,
      repositories: join(server.root, 'repositories'),
      objects: join(server.root, 'objects'),
      registryUrl: proxy.url,
      token: await operator(),
      dataDirs: [server.root],
      pids: [process.pid],
      limits: { global: 2, perTenant: { acme: 2 }, perWorkerSlots: { fake: 2 } },
      pushes,
      cancelled: [id],
    },
  }
}

async function playFate({ build, lease, signal, say }: FakeRun, { db }: GitServer, url: string) {
  const fate = build.request.build_args?.FATE as Fate
  await say(`this will go ${fate}`)
  if (fate === 'fail') return lease.fail({ failureClass: 'build', error: 'it was to fail' })
  if (fate === 'lose-once' && build.attempt === 1) {
    const past = db.raw(`clock_timestamp() - interval '1 s'`)
    await db('builds').where({ id: build.id }).update({ lease_until: past })
    return reap({ db, log: silent })
  }
  if (fate === 'wait') return aborted(signal)
  const headers = bearer(await buildToken(build.id))
  const { digest } = await pushImage({ url, repo: `builds/${build.id}`, headers }, 'x')
  await lease.markPushing()
  return lease.recordResult(digest, PROVENANCE)
}
