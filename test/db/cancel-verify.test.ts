// A cancel that comes when the image is pushed and its worker asks the server's registry for it.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import type { BuildResult } from '../../agent/protocol.ts'
import { createBuildLog } from '../../server/builds/log.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import { remoteLink } from '../../server/compose/remote-link.ts'
import { claimNext } from '../../server/queue/claim.ts'
import { createQueue } from '../../server/queue/queue.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { givenBuild } from '../helpers/builds.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { quietPipeline } from '../helpers/pipeline.ts'
import { playedRunner } from '../helpers/played-guest.ts'
import { listen } from '../helpers/registry.ts'
import { until } from '../helpers/until.ts'

const WELCOME = {
  registry_name: 'registry.example',
  public_url: 'https://registry.example',
  build_timeout_seconds: 60,
  mirror_hosts: [],
}

const PUSHED: BuildResult = {
  success: true,
  image_digest: `sha256:${'a'.repeat(64)}`,
  provenance: { source_hash: 'x', buildkit_version: 'v1', timestamp: '2026-01-01T00:00:00Z' },
  duration_ms: 1,
}

/** A server whose registry does not know the token of the build any more, as from the moment of a cancel. */
async function givenServer(t: TestContext) {
  let asked = 0
  const server = createServer((req, res) => {
    if (!req.url?.startsWith('/v2/')) {
      res.setHeader('content-type', 'application/json').end(JSON.stringify(WELCOME))
      return
    }
    asked += 1
    res.writeHead(401).end()
  })
  return { url: await listen(t, server), asked: () => asked }
}

test('a build that is cancelled while its worker looks for its image ends at once, and not after a minute', async (t) => {
  const { db, listener } = await givenDatabase(t)
  const server = await givenServer(t)
  const link = await remoteLink(
    { log: silent },
    { url: server.url, token: 'a token', worker: 'w', onRefused: assert.fail },
    new AbortController().signal,
  )
  const runner = playedRunner(async ({ say }) => {
    say({ type: 'status', status: 'building' })
    say({ type: 'status', status: 'pushing' })
    say({ type: 'result', result: PUSHED })
    await new Promise(() => {})
  })
  const pipeline = quietPipeline({ db, listener, runner, findImage: link.findImage })
  const store = createBuildStore({ db })
  const queue = createQueue({ db, store, buildLog: createBuildLog({ db, listener }) })
  await setSlots(db, 1)
  const { id } = await givenBuild(db)
  const claimed = await claimNext(db, 'w')
  assert.ok(claimed)
  const running = pipeline.run(claimed, new AbortController().signal)
  await until('the question', () => server.asked() > 0)
  assert.equal(await queue.cancel(id), 'stopping')
  const before = server.asked()
  await running
  assert.equal((await store.get(id))?.status, 'cancelled')
  // It asks twice a second.
  assert.ok(server.asked() - before < 20, `asked ${server.asked() - before} times more`)
})
