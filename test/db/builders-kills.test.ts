// A worker killed at every point of a build that changes its builder: a process of its own, real rows, real files.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { CACHE_DISK_CLEAN_NOTE } from '../../agent/protocol.ts'
import { createBuilderStore } from '../../server/builders/store.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { reap } from '../../server/queue/reaper.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { makeBuilderWorker } from '../helpers/builder-worker.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { goodResult, WELL } from '../helpers/played-builds.ts'
import { playedRunner } from '../helpers/played-guest.ts'

const DOOMED = fileURLToPath(new URL('../helpers/doomed-worker.ts', import.meta.url))
const DISK_BYTES = 1024 ** 3
/** Copies a part of the disk and kills who has called it. */
const HALF_COPY = `#!/bin/sh
for to; do from=$last; last=$to; done
head -c 4 "$from" >"$to"
kill -9 "$PPID"
`

async function given(t: TestContext) {
  const { url, db, listener } = await givenDatabase(t)
  await setSlots(db, 2)
  const root = await mkdtemp(join(tmpdir(), 'hm-builders-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const bin = await mkdtemp(join(tmpdir(), 'hm-cp-'))
  t.after(() => rm(bin, { recursive: true, force: true }))
  const { key } = (await createBuilderStore({ db }).insert(db, {
    tenant: 'acme',
    id: 'ci',
    diskSizeGb: 1,
  }))!
  const queued = () => givenBuild(db, { builder: { key, id: 'ci', promotes: true } })

  /** Claims the next build, which leaves this state; resolves with the state it found. */
  async function built(state: string): Promise<string | undefined> {
    const { run } = await makeBuilderWorker({ db, listener, root })
    let found: string | undefined
    const play = playedRunner(
      async ({ spec: { cacheFile }, say }) => {
        if (cacheFile !== undefined) {
          const { size } = await stat(cacheFile)
          found = size < DISK_BYTES ? await readFile(cacheFile, 'utf8') : 'empty'
          await writeFile(cacheFile, state)
        }
        say({ type: 'result', result: goodResult() })
      },
      CACHE_DISK_CLEAN_NOTE,
      { exited: Promise.resolve(WELL) },
    )
    await run(play)
    return found
  }

  async function killed(when: string, statement = ''): Promise<void> {
    if (when === 'copy') await writeFile(join(bin, 'cp'), HALF_COPY)
    await chmod(join(bin, 'cp'), 0o755).catch(() => {})
    const { signal, stdout } = await execa(
      process.execPath,
      ['--import', 'tsx', DOOMED, url, root, when, statement],
      { reject: false, env: { PATH: `${bin}:${process.env.PATH}` }, timeout: 180_000 },
    )
    assert.equal(signal, 'SIGKILL', stdout)
  }

  async function restarted(): Promise<void> {
    await reap({ db, log: silent, worker: 'w' })
    const { disks } = await makeBuilderWorker({ db, listener, root })
    await disks.sweep()
  }

  const builder = async () => (await db('builders').where({ key }).first())!
  const files = () => readdir(join(root, key))
  return { db, queued, built, killed, restarted, builder, files }
}

const GIVEN_BACK = 'update builders.*not exists .select 1 from builds where lease_token'

/** What counts after the restart: the state before, or the new one; and whether the build has its result. */
const points: [
  sentence: string,
  when: string,
  statement: string,
  state: 'old' | 'new',
  isRecorded: boolean,
][] = [
  ['while the disk is copied', 'copy', '', 'old', false],
  ['while its guest writes the disk', 'guest', '', 'old', false],
  ['before the disk is to be saved', 'before', 'set "saving_until"', 'old', false],
  ['before the result is recorded', 'before', 'result_at. = ', 'old', false],
  ['while the result is recorded', 'after', 'result_at. = ', 'old', false],
  ['before the new state counts', 'before', 'set generation = ', 'old', true],
  [
    'when the new state counts, and the old one is still there',
    'after',
    'set generation = ',
    'new',
    true,
  ],
  ['before the builder is given back', 'before', GIVEN_BACK, 'new', true],
  ['when the builder is given back', 'after', GIVEN_BACK, 'new', true],
]

for (const [sentence, when, statement, state, isRecorded] of points) {
  test(`a worker killed ${sentence} leaves the ${state} state, whole, no orphan, and the next build is right`, async (t) => {
    const { db, queued, built, killed, restarted, builder, files } = await given(t)
    const first = await queued()
    assert.equal(await built('state one'), 'empty')
    const { id } = await queued()
    await killed(when, statement)
    await restarted()

    const { generation, lease_token, active_build_id } = await builder()
    assert.equal(generation, state === 'old' ? `${first.id}-1` : `${id}-1`)
    assert.deepEqual([lease_token, active_build_id], [null, null])
    assert.deepEqual(await files(), [`${generation}.img`])
    const build = (await createBuildStore({ db }).get(id))!
    assert.equal(build.status, isRecorded ? 'pushing' : 'queued')
    if (!isRecorded) assert.equal(await built('nothing'), undefined, 'again, without its builder')

    await queued()
    assert.equal(await built('state three'), state === 'old' ? 'state one' : 'state two')
    assert.equal((await files()).length, 1)
  })
}
