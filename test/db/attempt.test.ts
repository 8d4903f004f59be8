// One attempt of a build over real rows: what is stored of its configuration, its log and its result.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BuildResult } from '../../agent/protocol.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { bodyOf } from '../helpers/http.ts'
import { givenPipeline, type PlayAgent } from '../helpers/line-runner.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`
const RESULT: BuildResult = {
  success: true,
  image_digest: DIGEST,
  provenance: { source_hash: 'x', buildkit_version: 'v0', timestamp: 't' },
  duration_ms: 1,
}

const logging =
  (count: number): PlayAgent =>
  async ({ channel }) => {
    for (let n = 1; n <= count; n += 1) await channel.send({ type: 'log', log: `line ${n}` })
    await channel.send({ type: 'result', result: RESULT })
    await channel.finish()
  }

test('weakness 25: the stored log has each line once although the channel broke', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  const cuts = [20_000, 100, 31_000, 7]
  const pipeline = givenPipeline(t, { db, listener }, logging(3_000), { cuts })
  const build = await claimNext(db, 'w')
  await pipeline.run(build!, new AbortController().signal)

  const rows = await db('build_events').where({ build_id: id, type: 'log' }).orderBy('seq')
  const lines = rows.map(({ content }) => content as string)
  assert.match(lines.shift() ?? '', /^Builder VM ready in /)
  assert.deepEqual(
    lines,
    Array.from({ length: 3_000 }, (_, n) => `line ${n + 1}`),
  )
  const row = await createBuildStore({ db }).get(id)
  assert.equal(row?.imageDigest, DIGEST)
  assert.equal(row?.provenance?.runner, 'line')
  assert.equal(row?.provenance?.boundary, 'machine')
})

test('a result that quotes a NUL ends the build: it kept its slot for ever', async (t) => {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const endOf = async (result: BuildResult) => {
    const { id } = await givenBuild(db)
    const pipeline = givenPipeline(t, { db, listener }, async ({ channel }) => {
      await channel.send({ type: 'result', result })
      await channel.finish()
    })
    await pipeline.run((await claimNext(db, 'w'))!, new AbortController().signal)
    return createBuildStore({ db }).get(id)
  }
  const failure = { success: false, failure_class: 'build' as const, error: 'RUN a\0b failed' }
  const { image_digest: _, ...failed } = { ...RESULT, ...failure }
  assert.equal((await endOf(failed))?.error, 'RUN ab failed')

  const provenance = { ...RESULT.provenance, lockfile_hashes: { 'a\0b': 'c\0d\ud800' } }
  const build = await endOf({ ...RESULT, provenance })
  assert.deepEqual(build?.provenance?.lockfile_hashes, { ab: 'cd\ufffd' })
})

test('the configuration of a build is shown as its pod got it, without tokens and keys', async (t) => {
  const { db, listener, call, token } = await givenApi(t)
  await setSlots(db, 1)
  const request = {
    dockerfile: 'FROM scratch\n',
    base_image_digest: DIGEST,
    platform: 'linux/amd64',
    build_args: { MODE: 'a,b\nc' },
    build_policy: { network_mode: 'egress' as const, allowed_domains: ['*.example.org'] },
  }
  const { id } = await givenBuild(db, { request })

  const early = await call(`/builds/${id}/config`)
  assert.equal(early.status, 404)
  assert.match((await bodyOf(early)).message, /has no configuration yet: it has not started/)

  const { id: over } = await givenBuild(db)
  assert.equal((await call(`/builds/${over}`, { method: 'DELETE' })).status, 204)
  const ended = await bodyOf(await call(`/builds/${over}/config`))
  assert.match(ended.message, /has no configuration: it ended before its pod was made/)

  let given: Record<string, unknown> = {}
  const pipeline = givenPipeline(t, { db, listener }, async (line, spec) => {
    given = { ...spec.config }
    await logging(1)(line, spec)
  })
  const build = await claimNext(db, 'w')
  await pipeline.run(build!, new AbortController().signal)

  const shown = await bodyOf(await call(`/builds/${id}/config`))
  assert.notEqual(given.registry_token, undefined)
  assert.notEqual(given.channel_key, undefined)
  const redacted = '[redacted]'
  const hidden = { registry_token: redacted, channel_key: redacted }
  const expected: Record<string, unknown> = { ...given, ...hidden }
  assert.deepEqual(shown, expected)
  assert.equal(shown.dockerfile, request.dockerfile)
  assert.equal(shown.base_image_digest, DIGEST)
  assert.equal(shown.platform, 'linux/amd64')
  assert.deepEqual(shown.build_args, { MODE: 'a,b\nc' })
  assert.deepEqual(shown.allowed_domains, ['*.example.org'])

  const stranger = await token({ sub: 'eve', tenant: 'other' })
  assert.equal((await call(`/builds/${id}/config`, { token: stranger })).status, 404)
  const blind = await token({ permissions: ['app:read'] })
  assert.equal((await call(`/builds/${id}/config`, { token: blind })).status, 403)
})
