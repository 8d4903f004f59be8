// The HTTP face without a database: order, authentication, validation, error shapes, limits.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { pino } from 'pino'
import { z } from 'zod'
import { AppError } from '../../../server/errors.ts'
import { json, publicRoute, route } from '../../../server/http/route.ts'
import { bodyOf, givenHttp, jsonBody } from '../../helpers/http.ts'

const Thing = z.strictObject({
  name: z.string().regex(/^[a-z]+$/, { error: 'must be lower-case letters' }),
  size: z.int().max(9).optional(),
  args: z
    .record(z.string().regex(/^[A-Z]+$/, { error: 'must be upper case' }), z.string())
    .optional(),
})

function things() {
  return [
    route({
      id: 'makeThing',
      method: 'post',
      path: '/things',
      summary: 'Make',
      tag: 'things',
      permission: 'app:write',
      body: Thing,
      replies: { 201: json('Made', z.object({ name: z.string(), user: z.string() })) },
      handle: async ({ body, principal }) => ({
        status: 201,
        json: { name: body.name, user: principal.user },
      }),
    }),
    route({
      id: 'getThing',
      method: 'get',
      path: '/things/{id}',
      summary: 'Get',
      tag: 'things',
      resource: 'thing',
      permission: 'app:read',
      params: z.object({ id: z.string().regex(/^[a-z]+$/) }),
      query: z.strictObject({ limit: z.coerce.number().int().min(1).max(200).default(50) }),
      replies: { 200: json('It', z.object({ id: z.string(), limit: z.int() })) },
      handle: async ({ params: { id }, query: { limit } }) => ({
        status: 200,
        json: { id, limit },
      }),
    }),
    publicRoute({
      id: 'explode',
      method: 'get',
      path: '/explode/{how}',
      summary: 'Fail',
      tag: 'things',
      params: z.object({ how: z.string() }),
      replies: { 200: json('Never', z.string()) },
      errors: ['conflict', 'database_unavailable'],
      async handle({ params: { how } }) {
        if (how === 'known') throw new AppError('conflict', 'it is busy "right" now')
        if (how === 'database') throw Object.assign(new Error('x'), { code: 'ECONNREFUSED' })
        throw Object.assign(new Error('secret inside'), { detail: 'secret row' })
      },
    }),
  ]
}

test('a permitted, valid request reaches its handler with what the schemas made of it', async (t) => {
  const { call } = await givenHttp(t, things)
  const made = await call('/things', jsonBody('POST', { name: 'abc' }))
  assert.equal(made.status, 201)
  assert.deepEqual(await made.json(), { name: 'abc', user: 'ada' })
  assert.deepEqual(await bodyOf(await call('/things/abc?limit=7')), { id: 'abc', limit: 7 })
  assert.deepEqual(await bodyOf(await call('/things/abc')), { id: 'abc', limit: 50 })
})

test('without a valid Bearer token the answer is 401 with a challenge and says why', async (t) => {
  const { call, url, token } = await givenHttp(t, things)
  const cases: [string | undefined, string][] = [
    [undefined, 'authorization header required'],
    ['Bearer nonsense', 'invalid token'],
    [
      `Basic ${Buffer.from(`x:${await token()}`).toString('base64')}`,
      'invalid authorization header format: send Bearer <token>',
    ],
  ]
  for (const [authorization, message] of cases) {
    const reply = await fetch(`${url}/things/abc`, {
      headers: authorization ? { authorization } : {},
    })
    assert.equal(reply.status, 401)
    assert.equal(reply.headers.get('www-authenticate'), 'Bearer realm="hypeman"')
    assert.deepEqual(await bodyOf(reply), { code: 'unauthorized', message })
  }
  assert.equal((await call('/things/abc', { token: await token({ ttlSeconds: -10 }) })).status, 401)
})

test('a token without the permission gets 403 naming it, before its body is looked at', async (t) => {
  const { call, token } = await givenHttp(t, things)
  const reader = await token({ permissions: ['app:read'] })
  assert.equal((await call('/things/abc', { token: reader })).status, 200)
  const reply = await call('/things', { ...jsonBody('POST', { bad: 1 }), token: reader })
  assert.equal(reply.status, 403)
  assert.deepEqual(await bodyOf(reply), {
    code: 'forbidden',
    message: 'missing required scope: app:write',
  })
})

test('a validation error names each field and its value', async (t) => {
  const { call } = await givenHttp(t, things)
  const reply = await call(
    '/things',
    jsonBody('POST', { name: 'ABC', size: 99, args: { low: 'x' }, nmae: 'typo' }),
  )
  assert.equal(reply.status, 400)
  const body = await bodyOf(reply)
  assert.equal(body.code, 'invalid_request')
  assert.match(body.message, /^body name="ABC": must be lower-case letters \(and 3 more\)$/)
  const messages = body.details.map((detail: { message: string }) => detail.message)
  assert.equal(messages.length, 4)
  assert.ok(messages.some((m: string) => /^body size=99: /.test(m)))
  assert.ok(messages.includes('body args.low="x": must be upper case'))
  assert.ok(messages.includes('body nmae="typo": is not known here'))
  const query = await bodyOf(await call('/things/abc?limit=201&limt=3'))
  assert.match(query.message, /^query limit="201": /)
  assert.equal(query.details[1].message, 'query limt="3": is not known here')
  const missing = await bodyOf(await call('/things', jsonBody('POST', {})))
  assert.match(missing.message, /^body name is missing: /)
})

test('a path that cannot name a thing is 404, as an unknown thing is', async (t) => {
  const { call } = await givenHttp(t, things)
  for (const id of ['UPPER', '%00', '%ff', '%2e%2e', 'a%2fb']) {
    assert.equal((await call(`/things/${id}`)).status, 404, id)
  }
  const reply = await call('/things/UPPER')
  assert.deepEqual(await bodyOf(reply), { code: 'not_found', message: 'thing not found' })
})

test('unknown paths and methods answer in the same shape, and OPTIONS names the methods', async (t) => {
  const { call } = await givenHttp(t, things)
  const unknown = await call('/nothing/here')
  assert.equal(unknown.status, 404)
  assert.deepEqual(await bodyOf(unknown), {
    code: 'not_found',
    message: 'no such path: GET /nothing/here',
  })
  const method = await call('/things', { method: 'DELETE' })
  assert.equal(method.status, 405)
  assert.equal(method.headers.get('allow'), 'POST, OPTIONS')
  assert.equal((await bodyOf(method)).code, 'method_not_allowed')
  assert.equal((await call('/things/abc', { method: 'OPTIONS' })).status, 204)
})

test('bodies that are missing, not JSON, of another type or too large are refused with the reason', async (t) => {
  const { call } = await givenHttp(t, things, { jsonBody: { bytesMax: 1000 } })
  const post = (body: string | undefined, type = 'application/json') =>
    call('/things', { method: 'POST', headers: { 'content-type': type }, body: body ?? null })
  const expected: [Response, number, RegExp][] = [
    [await post(undefined), 400, /^body is missing/],
    [await post('{"name":'), 400, /^body is not valid JSON/],
    [await post('"text"'), 400, /JSON/],
    [
      await post('name=abc', 'application/x-www-form-urlencoded'),
      400,
      /send the body as application\/json/,
    ],
    [await post(JSON.stringify({ name: 'a'.repeat(2000) })), 413, /larger than 1000 bytes/],
    [await post('{"name":"abc","args":{"A":"\\u0000"}}'), 400, /^body args\.A: holds a NUL/],
    [await post('{"name":"abc","args":{"A":"\\ud800"}}'), 400, /^body args\.A: holds a NUL/],
    [await post(`${'['.repeat(900)}`), 400, /not valid JSON/],
  ]
  for (const [reply, status, message] of expected) {
    const body = await bodyOf(reply)
    assert.equal(reply.status, status, JSON.stringify(body))
    assert.match(body.message, message)
  }
})

test('a body that never ends is given up after its deadline', async (t) => {
  const { http, url, token } = await givenHttp(t, things, { jsonBody: { deadlineMs: 100 } })
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(
    `POST /things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${await token()}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name"',
  )
  let text = ''
  socket.setEncoding('utf8').on('data', (part) => {
    text += part
  })
  await once(socket, 'close')
  assert.match(text, /^HTTP\/1\.1 408 /)
  assert.match(text, /"code":"request_timeout"/)
  assert.equal(http.server.listening, true)
})

test('an unexpected error shows nothing of the inside, and the log has it under the request id', async (t) => {
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const { call } = await givenHttp(t, things, { log: pino({ level: 'info' }, sink) })
  const reply = await call('/explode/badly')
  const requestId = reply.headers.get('x-request-id')
  assert.equal(reply.status, 500)
  assert.deepEqual(await bodyOf(reply), {
    code: 'internal_error',
    message: `internal error; the server's log has it as request ${requestId}`,
  })
  const logged = lines.map((line) => JSON.parse(line))
  const failure = logged.find((line) => line.msg === 'request failed')
  assert.equal(failure.requestId, requestId)
  assert.equal(failure.err.message, 'secret inside')
  assert.equal(lines.join('').includes('secret row'), false)
})

test('known failures keep their code, and a database that is away is 503', async (t) => {
  const { call } = await givenHttp(t, things)
  const known = await call('/explode/known')
  assert.equal(known.status, 409)
  assert.deepEqual(await bodyOf(known), { code: 'conflict', message: 'it is busy "right" now' })
  const away = await call('/explode/database')
  assert.equal(away.status, 503)
  assert.equal((await bodyOf(away)).code, 'database_unavailable')
})

test('the access log has who, what and how long, and never a token or a query', async (t) => {
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const { call, token } = await givenHttp(t, things, { log: pino({ level: 'info' }, sink) })
  const secret = await token({ sub: 'grace' })
  await (await call('/things/abc?limit=33', { token: secret })).text()
  await new Promise((resolve) => setTimeout(resolve, 50))
  const line = JSON.parse(lines.find((text) => text.includes('/things/abc'))!)
  assert.equal(line.user, 'grace')
  assert.equal(line.tenant, 'acme')
  assert.equal(line.status, 200)
  assert.equal(line.method, 'GET')
  assert.equal(typeof line.ms, 'number')
  assert.equal(lines.join('').includes(secret), false)
  assert.equal(lines.join('').includes('limit=33'), false)
})

test('git is asked first and the registry gets everything under /v2 untouched', async (t) => {
  const { call } = await givenHttp(t, things, {
    git: async (ctx, next) => {
      if (!ctx.path.includes('.git/')) return next()
      ctx.body = 'git'
    },
    registry: (req, res) => {
      let bytes = 0
      req.on('data', (chunk) => {
        bytes += chunk.length
      })
      req.on('end', () => res.end(`registry ${req.method} ${req.url} ${bytes} ${res.statusCode}`))
    },
  })
  assert.equal(await (await call('/v2/x.git/info/refs')).text(), 'git')
  assert.equal(await (await call('/v2/')).text(), 'registry GET /v2/ 0 200')
  const put = await call('/v2/a/blobs?x=1', { method: 'PUT', body: 'x'.repeat(100) })
  assert.equal(await put.text(), 'registry PUT /v2/a/blobs?x=1 100 200')
  assert.equal((await call('/v2x')).status, 404)
})

test('stop is idempotent and does not wait for idle connections', async (t) => {
  const { http, call } = await givenHttp(t, things)
  await (await call('/things/abc')).text()
  const startedAt = Date.now()
  await Promise.all([http.stop(), http.stop()])
  assert.ok(Date.now() - startedAt < 1000)
  await assert.rejects(call('/things/abc'))
})
