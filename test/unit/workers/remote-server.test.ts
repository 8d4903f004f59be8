// A worker and a server that does not behave.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import { createRemoteServer } from '../../../server/workers/remote-server.ts'
import { silent } from '../../helpers/database.ts'
import { listen } from '../../helpers/registry.ts'

v8.setFlagsFromString('--expose-gc')
const collectGarbage = vm.runInNewContext('gc') as () => void

const WELCOME = {
  registry_name: 'registry.example',
  public_url: 'https://registry.example',
  build_timeout_seconds: 60,
  mirror_hosts: [],
}

/** Takes the first request and says nothing to it, answers the others. */
async function givenSilentServer(t: TestContext) {
  let requests = 0
  const server = createServer((_req, res) => {
    requests += 1
    if (requests > 1) res.setHeader('content-type', 'application/json').end(JSON.stringify(WELCOME))
  })
  return { url: await listen(t, server), requests: () => requests }
}

test('a server that takes a request and never answers is asked again, whatever is collected as garbage', async (t) => {
  const { url, requests } = await givenSilentServer(t)
  const server = createRemoteServer({
    url,
    token: 'a token',
    worker: 'w',
    log: silent,
    onRefused: (reason) => assert.fail(reason),
    requestMs: 500,
    retryMs: 1,
  })
  const stop = new AbortController()
  t.after(() => stop.abort())
  const welcome = server.hello(stop.signal)
  let isOver = false
  void welcome.then(
    () => {
      isOver = true
    },
    () => {
      isOver = true
    },
  )
  while (!isOver) {
    collectGarbage()
    await sleep(20)
  }
  assert.deepEqual(await welcome, WELCOME)
  assert.equal(requests(), 2)
})
