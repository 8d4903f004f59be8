// A build whose source the agent fetches, seen from the host: what the agent is given, what it tells, what is
// kept of that. The guest is played; rows, sockets and the pipeline are real.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type BuildResult, type FetchedSource, SECRETS_PORT } from '../../agent/protocol.ts'
import type { BuildRequest } from '../../server/builds/request-schema.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import type { OpenEgress } from '../../server/egress/builds.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { grantsOf } from '../helpers/grants.ts'
import { noEgress, quietPipeline } from '../helpers/pipeline.ts'
import { type Guest, playedRunner } from '../helpers/played-guest.ts'

const REPO = 'https://git.example.org/app.git'
const SOURCE: FetchedSource = {
  commit: 'c'.repeat(40),
  ref: 'refs/heads/main',
  committed_at: 1_700_000_000,
  hash: `sha256:${'d'.repeat(64)}`,
}
const RESULT: BuildResult = {
  success: true,
  image_digest: `sha256:${'a'.repeat(64)}`,
  provenance: { source_hash: 'x', buildkit_version: 'v1', timestamp: '2026-01-01T00:00:00Z' },
  duration_ms: 1,
}
const FAILED: BuildResult = {
  ...RESULT,
  success: false,
  failure_class: 'source',
  error: 'the source could not be fetched',
}

type Play = (guest: Guest) => Promise<void>

async function givenFetching(t: TestContext, request: BuildRequest, openEgress = noEgress) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db, { request })
  const store = createBuildStore({ db })
  return {
    db,
    id,
    store,
    /** One attempt; its guest's configuration. */
    async attempt(play: Play) {
      const runner = playedRunner(play)
      const pipeline = quietPipeline({
        db,
        listener,
        runner,
        grant: grantsOf(db, {
          resolve: async (ids) => new Map(ids.map((id) => [id, Buffer.from(`of-${id}`)])),
        }),
        openEgress,
        caCertificates: 'a certificate',
      })
      const build = await claimNext(db, 'w')
      await pipeline.run(build!, new AbortController().signal)
      return (await store.get(id))!
    },
  }
}

test('what was fetched is recorded with the build and in its provenance', async (t) => {
  const { attempt, store, id } = await givenFetching(t, { repo_url: REPO })
  let early: string | undefined
  const build = await attempt(async ({ spec: { config }, say }) => {
    assert.deepEqual(config.repo, { url: REPO })
    assert.equal(config.ca_certificates, 'a certificate')
    assert.equal(config.labels?.['org.opencontainers.image.source'], REPO)
    say({ type: 'source', source: SOURCE })
    say({ type: 'status', status: 'building' })
    for (let i = 0; i < 500 && early === undefined; i += 1) early = (await store.get(id))?.commit
    say({ type: 'result', result: RESULT })
  })
  assert.equal(early, SOURCE.commit, 'known while the build runs')
  assert.equal(build.status, 'pushing')
  assert.deepEqual(
    [build.commit, build.ref, build.sourceHash],
    [SOURCE.commit, SOURCE.ref, SOURCE.hash],
  )
  assert.equal(build.provenance?.source_hash, SOURCE.hash)
  assert.deepEqual(build.provenance?.source, {
    url: REPO,
    ref: SOURCE.ref,
    commit: SOURCE.commit,
  })
})

test('a second attempt fetches the commit of the first, wherever the branch is by then', async (t) => {
  const { attempt, db, id } = await givenFetching(t, { repo_url: REPO })
  await db('builds').where({ id }).update({ ref: 'main' })
  let given: unknown
  await attempt(async ({ spec, say }) => {
    given = spec.config.repo
    say({ type: 'source', source: SOURCE })
    say({ type: 'result', result: FAILED })
  })
  assert.deepEqual(given, { url: REPO, ref: 'main' })
  await db('builds')
    .where({ id })
    .update({ status: 'queued', failure_class: null, completed_at: null, lease_token: null })
  await attempt(async ({ spec, say }) => {
    given = spec.config.repo
    say({ type: 'result', result: FAILED })
  })
  assert.deepEqual(given, { url: REPO, ref: SOURCE.ref, commit: SOURCE.commit })
})

test('an agent that tells no source, a second one, or one that nobody asked for is not believed', async (t) => {
  const source = { type: 'source', source: SOURCE } as const
  const result = { type: 'result', result: RESULT } as const
  const cases: [BuildRequest, Play, RegExp][] = [
    [
      { repo_url: REPO },
      async ({ say }) => say(result),
      /has not fetched https:.*: use a builder image of the server's own version/,
    ],
    [
      { repo_url: REPO },
      async ({ say }) => [source, source, result].forEach(say),
      /told of a second source/,
    ],
    [{}, async ({ say }) => [source, result].forEach(say), /a source that it was not to fetch/],
    [
      { repo_url: REPO },
      async ({ say }) => say({ type: 'source', source: { ...SOURCE, commit: 'HEAD; drop' } }),
      /malformed message/,
    ],
  ]
  for (const [request, play, message] of cases) {
    const { attempt } = await givenFetching(t, request)
    const build = await attempt(play)
    assert.equal(build.failureClass, 'infra')
    assert.match(build.error ?? '', message)
  }
})

test('the secret of a repository goes to the agent, and is none of the Dockerfile’s', async (t) => {
  const request = { repo_url: REPO, repo_secret: 'git_token', secrets: [{ id: 'npm' }] }
  const { attempt } = await givenFetching(t, request)
  let answer = ''
  await attempt(async ({ spec: { config }, ask, say }) => {
    assert.deepEqual(config.secrets, [{ id: 'npm' }])
    assert.deepEqual(config.repo, { url: REPO, secret: 'git_token' })
    const asked = { nonce: config.secrets_nonce, secret_ids: ['npm', 'git_token'] }
    answer = await ask(SECRETS_PORT, `${JSON.stringify({ type: 'get_secrets', ...asked })}\n`)
    say({ type: 'log', log: 'the token is of-git_token' })
    say({ type: 'result', result: FAILED })
  })
  assert.equal(
    Buffer.from(JSON.parse(answer).secrets.git_token, 'base64').toString(),
    'of-git_token',
  )
})

test('a repository that the policy keeps away is named with the reason of the way out', async (t) => {
  const reason = 'git.example.org:443 is not in allowed_domains'
  const refusing: OpenEgress = ({ onEvent }) => {
    const refused = { function: 'egress_refused', host: 'git.example.org', port: 443 } as const
    onEvent({ ...refused, reason, at: new Date() })
    return { handle: () => {}, named: () => 0, close: () => {} }
  }
  const { attempt } = await givenFetching(t, { repo_url: REPO }, refusing)
  const build = await attempt(async ({ say }) => say({ type: 'result', result: FAILED }))
  assert.equal(build.failureClass, 'source')
  assert.equal(build.error, `the source could not be fetched (${reason})`)
})
