// Secrets on their way from the provider to a guest, through the pipeline: the real service socket, real rows,
// and a guest played by the test.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { SECRETS_PORT } from '../../agent/protocol.ts'
import type { BuildRequest } from '../../server/builds/request-schema.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { setSlots } from '../../server/queue/slots.ts'
import type { SecretProvider } from '../../server/secrets/provider.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase } from '../helpers/database.ts'
import { grantsOf } from '../helpers/grants.ts'
import { quietPipeline } from '../helpers/pipeline.ts'
import { type Guest, playedRunner } from '../helpers/played-guest.ts'

const TOKEN = 'npm_hunter2/é+secret'
const PIN = '123'
const DIGEST = `sha256:${'ab'.repeat(32)}`
const provenance = {
  source_hash: DIGEST,
  buildkit_version: 'v1',
  timestamp: '2026-01-01T00:00:00Z',
}

function providerOf(values: Record<string, string>): SecretProvider {
  return {
    async resolve(ids) {
      const known = ids.filter((id) => Object.hasOwn(values, id))
      return new Map(known.map((id) => [id, Buffer.from(values[id]!)]))
    },
  }
}

interface Setting {
  request: BuildRequest
  secrets?: SecretProvider
  play?: (guest: Guest) => Promise<void>
  console?: string
}

async function runBuild(t: TestContext, setting: Setting) {
  const { db, listener } = await givenDatabase(t)
  await setSlots(db, 1)
  const { id } = await givenBuild(db, { request: setting.request, app: 'web' })
  const runner = playedRunner(setting.play ?? (async () => {}), setting.console)
  const pipeline = quietPipeline({
    db,
    listener,
    runner,
    grant: grantsOf(db, setting.secrets ?? providerOf({ npm_token: TOKEN })),
  })
  const build = await claimNext(db, 'w')
  await pipeline.run(build!, new AbortController().signal)
  const events = await db('build_events').where({ build_id: id }).orderBy('seq')
  const row = await db('builds').where({ id }).first()
  return {
    build: (await createBuildStore({ db }).get(id))!,
    lines: events.filter(({ type }) => type === 'log').map(({ content }) => content as string),
    /** All that is kept of the build. */
    kept: JSON.stringify([events, row]),
    started: runner.started,
  }
}

const wants = (...ids: string[]): BuildRequest => ({ secrets: ids.map((id) => ({ id })) })

function request(nonce: string | undefined, ...ids: string[]): string {
  return `${JSON.stringify({ type: 'get_secrets', nonce, secret_ids: ids })}\n`
}

test('weaknesses 8 and 9: the configuration holds no secret; a guest gets them once, for its nonce, not for less', async (t) => {
  const answers: Record<string, string> = {}
  await runBuild(t, {
    request: wants('npm_token'),
    secrets: providerOf({ npm_token: TOKEN, other: 'not of this build' }),
    async play({ spec, ask }) {
      const { secrets, secrets_nonce: nonce } = spec.config
      assert.deepEqual(secrets, [{ id: 'npm_token' }])
      assert.ok(!JSON.stringify(spec.config).includes(TOKEN))
      const good = request(nonce, 'npm_token')
      const tries = {
        'wrong nonce': request(`${nonce}x`, 'npm_token'),
        'no nonce': request(undefined, 'npm_token'),
        'empty nonce': request('', 'npm_token'),
        'an id of nobody': request(nonce, 'npm_token', 'other'),
        'no id': request(nonce),
        garbage: 'give me secrets\n',
        endless: `${'x'.repeat(20_000)}`,
        'the right one': good,
        'the right one again': good,
      }
      for (const [name, line] of Object.entries(tries))
        answers[name] = await ask(SECRETS_PORT, line)
    },
  })
  const { 'the right one': given, ...refused } = answers
  const secrets = { npm_token: Buffer.from(TOKEN).toString('base64') }
  assert.deepEqual(JSON.parse(given ?? ''), { type: 'secrets', secrets })
  for (const [name, answer] of Object.entries(refused)) assert.equal(answer, '', name)
  assert.equal(Object.keys(refused).length, 8)
})

test('a build without secrets has no such port and no nonce', async (t) => {
  let seen: Guest | undefined
  await runBuild(t, {
    request: { secrets: [{ id: 'npm_token', optional: true }] },
    secrets: providerOf({}),
    play: async (guest) => {
      seen = guest
    },
  })
  assert.ok(seen)
  assert.ok(!seen.spec.services.has(SECRETS_PORT))
  assert.equal(seen.spec.config.secrets_nonce, undefined)
  assert.equal(seen.spec.config.secrets, undefined)
})

test('weakness 8: a missing secret fails the build before a pod starts, and says how to set it', async (t) => {
  const { build, started } = await runBuild(t, { request: wants('npm_token', 'gh', 'ssh') })
  assert.equal(started, 0)
  assert.equal(build.status, 'failed')
  assert.equal(build.failureClass, 'source')
  assert.equal(
    build.error,
    'secrets gh, ssh are not set: PUT /apps/web/secrets/gh, or a file acme/gh or shared/gh in BUILD_SECRETS_DIR; mark it optional to build without it',
  )
})

test('the secret of a repository cannot be optional, so nobody is told to mark it so', async (t) => {
  const { build } = await runBuild(t, { request: { repo_secret: 'gitpw' } })
  assert.equal(build.failureClass, 'source')
  assert.match(build.error ?? '', /gitpw is not set: .* in BUILD_SECRETS_DIR$/)
})

test('weakness 8: a secret that is set and cannot be read fails the build; it does not go without', async (t) => {
  const broken: SecretProvider = {
    resolve: async () => {
      throw new Error('the secret file acme/npm_token is not a regular file')
    },
  }
  const secrets = [{ id: 'npm_token', optional: true }]
  const { build, started } = await runBuild(t, { request: { secrets }, secrets: broken })
  assert.equal(started, 0)
  assert.equal(build.failureClass, 'infra')
  assert.match(build.error ?? '', /secrets could not be read: .*acme\/npm_token/)
})

test('weakness 8: nothing that is kept of a failed build holds a secret in any form', async (t) => {
  const forms = [
    TOKEN,
    Buffer.from(TOKEN).toString('base64'),
    Buffer.from(TOKEN).toString('base64url'),
    encodeURIComponent(TOKEN),
    JSON.stringify(TOKEN).slice(1, -1),
  ]
  const { build, lines, kept } = await runBuild(t, {
    request: {
      secrets: [{ id: 'npm_token', env_var: 'TOK' }, { id: 'pin' }, { id: 'no', optional: true }],
    },
    secrets: providerOf({ npm_token: TOKEN, pin: PIN }),
    async play({ say }) {
      for (const form of forms) say({ type: 'log', log: `it is ${form}!`, step: 1 })
      const step = { n: 1, name: `[1/1] RUN echo ${TOKEN}`, state: 'failed' as const }
      say({ type: 'step', step: { ...step, error: `process "${TOKEN}"` } })
      say({
        type: 'result',
        result: {
          success: false,
          failure_class: 'build',
          error: `step 1 (echo ${TOKEN}) failed`,
          failed_step: { n: 1, name: TOKEN, last_lines: [TOKEN] },
          provenance: { ...provenance, base_images: [{ ref: TOKEN, digest: DIGEST }] },
          duration_ms: 1,
        },
      })
    },
  })
  assert.equal(build.error, 'step 1 (echo ***) failed')
  assert.equal(lines.filter((line) => line === 'it is ***!').length, forms.length)
  for (const form of forms) assert.ok(!kept.includes(JSON.stringify(form).slice(1, -1)), form)
  assert.ok(
    lines.includes(
      'Secrets: npm_token (also TOK), pin (under 4 characters, so not hidden in this log), no (optional, not set)',
    ),
  )
})

test('weakness 8: provenance of a good build is redacted and keeps its digests; so is the console of a dead one', async (t) => {
  const good = await runBuild(t, {
    // Part of every digest and of the time.
    request: wants('npm_token', 'abab', 'year'),
    secrets: providerOf({ npm_token: TOKEN, abab: 'abab', year: '2026' }),
    async play({ say }) {
      const base_images = [{ ref: `localhost:5000/${TOKEN}`, digest: DIGEST }]
      const result = { provenance: { ...provenance, base_images }, duration_ms: 1 }
      say({ type: 'result', result: { success: true, image_digest: DIGEST, ...result } })
    },
  })
  assert.equal(good.build.imageDigest, DIGEST, good.build.error)
  assert.deepEqual(good.build.provenance?.base_images, [
    { ref: 'localhost:5000/***', digest: DIGEST },
  ])
  assert.equal(good.build.provenance?.timestamp, provenance.timestamp)

  const dead = await runBuild(t, {
    request: wants('npm_token'),
    console: `Kernel panic - not syncing: ${TOKEN}\n`,
    play: async () => {},
  })
  assert.equal(dead.build.status, 'queued')
  const said = dead.lines.at(-1) ?? ''
  assert.match(said, /^the build VM's kernel panicked .*: \*\*\*; once more in a new VM$/)
  assert.ok(dead.lines.includes('console: Kernel panic - not syncing: ***'))
  assert.ok(!dead.kept.includes('hunter2'))
})
