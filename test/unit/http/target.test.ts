// Request targets over a raw socket: clients write them, and fetch() would mend them first.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { json, publicRoute } from '../../../server/http/route.ts'
import { givenHttp } from '../../helpers/http.ts'

async function given(t: TestContext) {
  const { url } = await givenHttp(t, () => [
    publicRoute({
      id: 'getThing',
      method: 'get',
      path: '/thing',
      summary: 'Get',
      tag: 'things',
      query: z.object({ n: z.string().optional() }),
      replies: { 200: json('It', z.object({ n: z.string().optional() })) },
      handle: async ({ query }) => ({ status: 200, json: query }),
    }),
  ])
  const { hostname, port } = new URL(url)
  return (target: string): Promise<string> => {
    const socket = connect(Number(port), hostname)
    socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    return text(socket)
  }
}

test('one request with a target that is no URL does not end the server', async (t) => {
  const ask = await given(t)
  for (const target of ['http://[::1/thing', 'http://', 'http://a:b:c/', 'https://x:99999/']) {
    const answer = await ask(target)
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, target)
    assert.match(answer, /"code":"invalid_request","message":"request target \\"http/)
  }
  assert.match(await ask('/thing'), /^HTTP\/1\.1 200 OK\r\n/)
})

test('an absolute target, as proxies send it, is the path in it', async (t) => {
  const ask = await given(t)
  assert.match(await ask('http://any.host:1/thing?n=5'), /200 OK[\s\S]*\{"n":"5"\}/)
  assert.match(await ask('http://any.host'), /^HTTP\/1\.1 404 /)
  assert.match(await ask('ftp://any.host/thing'), /^HTTP\/1\.1 400 /)
  assert.match(await ask('*'), /^HTTP\/1\.1 404 /)
})
