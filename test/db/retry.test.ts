// Which ends of an attempt deserve another one: what the machine broke, never what the user gave.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FailureClass } from '../../server/builds/schema.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import type { PipelineOptions } from '../../server/pipeline/pipeline.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { NotGranted } from '../../server/workers/link.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { DIGEST } from '../helpers/fake-worker.ts'
import { quietPipeline } from '../helpers/pipeline.ts'
import { type Guest, playedRunner } from '../helpers/played-guest.ts'

const provenance = {
  source_hash: DIGEST,
  buildkit_version: 'v0.33.1',
  timestamp: '2026-01-01T00:00:00Z',
}

async function given(t: TestContext) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const store = createBuildStore({ db })
  /** Runs the next attempt of the one build. */
  async function attempt(more: Partial<PipelineOptions>, play = async (_: Guest) => {}) {
    const pipeline = quietPipeline({ db, listener, runner: playedRunner(play), ...more })
    const build = (await claimNext(db, 'w'))!
    await pipeline.run(build, new AbortController().signal)
    const events = await db('build_events').where({ build_id: build.id }).orderBy('seq')
    return {
      build: (await store.get(build.id))!,
      lines: events.filter(({ type }) => type === 'log').map(({ content }) => content as string),
      attempts: events.filter(({ type }) => type === 'attempt').map(({ data }) => data.attempt),
    }
  }
  return { db, attempt }
}

const says =
  (failure_class: FailureClass, error = `it is ${failure_class}`) =>
  async (guest: Guest) => {
    const result = { success: false, failure_class, error }
    guest.say({ type: 'result', result: { ...result, provenance, duration_ms: 1 } })
  }

test('what the machine broke is tried once more, with the reason and the attempt in the log', async (t) => {
  const { db, attempt } = await given(t)
  await givenBuild(db)
  const runner = playedRunner(async () => {})
  const broken = { ...runner, start: () => Promise.reject(new Error('the disk broke')) }
  const first = await attempt({ runner: broken })
  assert.equal(first.build.status, 'queued')
  const line = 'the build could not be run: the disk broke; once more in a new VM'
  assert.equal(first.lines.at(-1), line)
  const second = await attempt({ runner: broken })
  assert.deepEqual([second.build.status, second.build.failureClass], ['failed', 'infra'])
  assert.deepEqual(second.attempts, [2])
})

test('a BuildKit that fails on a slow machine does not end the build: it is tried once more', async (t) => {
  const { db, attempt } = await given(t)
  await givenBuild(db)
  const error = 'BuildKit failed: NotFound: forwarding Ping: no such job vg9qwatxdexw12rb1b52o4150'
  const first = await attempt({}, says('infra', error))
  assert.equal(first.build.status, 'queued')
  assert.equal(first.lines.at(-1), `${error}; once more in a new VM`)
  const second = await attempt({}, says('infra', error))
  assert.deepEqual([second.build.status, second.build.failureClass], ['failed', 'infra'])
})

test('a failure of the user’s build is final at its first attempt', async (t) => {
  const { db, attempt } = await given(t)
  for (const failureClass of ['build', 'source', 'oom', 'registry'] as const) {
    await givenBuild(db)
    const { build } = await attempt({}, says(failureClass))
    assert.deepEqual([build.status, build.failureClass, build.attempt], ['failed', failureClass, 1])
  }
})

test('a registry that was away when the image was pushed does not end the build: it is tried once more', async (t) => {
  const { db, attempt } = await given(t)
  await givenBuild(db)
  const error =
    'the image could not be pushed: failed to push localhost:5000/builds/a: unexpected status from HEAD request to http://localhost:5000/v2/builds/a/blobs/sha256:00: 503 Service Unavailable'
  const first = await attempt({}, says('registry', error))
  assert.equal(first.build.status, 'queued')
  assert.equal(first.lines.at(-1), `${error}; once more in a new VM`)
  const second = await attempt({}, says('registry', error))
  assert.deepEqual([second.build.status, second.build.failureClass], ['failed', 'registry'])
  await givenBuild(db)
  const full = await attempt({}, says('registry', error.replace('503', '507')))
  assert.deepEqual([full.build.status, full.build.attempt], ['failed', 1])
})

test('a worker that the server refuses hands its build back, and the attempt does not count', async (t) => {
  const { db, attempt } = await given(t)
  await givenBuild(db)
  const grant = () => Promise.reject(new NotGranted('drain', 'token revoked'))
  const refused = await attempt({ grant })
  assert.deepEqual([refused.build.status, refused.build.attempt], ['queued', 0])
  const { build } = await attempt({}, async ({ say }) =>
    say({
      type: 'result',
      result: { success: true, image_digest: DIGEST, provenance, duration_ms: 1 },
    }),
  )
  assert.deepEqual([build.imageDigest, build.attempt], [DIGEST, 1])
})
