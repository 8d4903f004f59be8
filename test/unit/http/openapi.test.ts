// /openapi.json describes what the server really serves, and is sound OpenAPI 3.1.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { createRoutes } from '../../../server/http/routes.ts'
import { bodyOf, givenHttp } from '../../helpers/http.ts'

// Nothing behind the routes is called here.
const none = {} as never
const routes = createRoutes({
  apps: none,
  secrets: none,
  builds: none,
  submissions: none,
  reports: none,
  health: none,
  metrics: none,
  publicUrl: () => 'http://localhost',
})

const EXPECTED = [
  'get /',
  'get /apps',
  'post /apps',
  'get /apps/{name}',
  'patch /apps/{name}',
  'delete /apps/{name}',
  'get /apps/{name}/secrets',
  'put /apps/{name}/secrets/{id}',
  'delete /apps/{name}/secrets/{id}',
  'get /builds',
  'post /builds',
  'get /builds/{id}',
  'delete /builds/{id}',
  'get /builds/{id}/events',
  'get /builds/{id}/logs',
  'get /health',
  'get /metrics',
  'get /openapi.json',
  'get /reports/builds',
]

// biome-ignore lint/suspicious/noExplicitAny: a document of foreign shape
type Doc = any

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']

function operations(doc: Doc): { key: string; path: string; method: string; op: Doc }[] {
  return Object.entries<Doc>(doc.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      key: `${method} ${path}`,
      path,
      method,
      op: item[method],
    })),
  )
}

function* nodes(value: Doc): Generator<Doc> {
  if (typeof value !== 'object' || value === null) return
  yield value
  for (const inner of Object.values(value)) yield* nodes(inner)
}

test('every route is in the document, and every path of the document answers', async (t) => {
  const { call } = await givenHttp(t, () => routes)
  const doc = await bodyOf(await call('/openapi.json', { token: null }))
  const described = operations(doc).map(({ key }) => key)
  assert.deepEqual([...described].sort(), [...EXPECTED].sort())
  assert.deepEqual([...described].sort(), routes.map((row) => `${row.method} ${row.path}`).sort())
  for (const { path, method, op } of operations(doc)) {
    if (op.security?.length === 0) continue
    const reply = await call(path.replaceAll(/\{\w+\}/g, 'abcdefgh'), {
      method: method.toUpperCase(),
      token: null,
    })
    assert.equal(reply.status, 401, `${method} ${path}`)
  }
})

test('only health, the signpost and the document itself are open to anybody', async () => {
  const open = routes.filter((row) => row.permission === undefined).map((row) => row.path)
  assert.deepEqual(open.sort(), ['/', '/health', '/openapi.json'])
})

test('the document is sound: references resolve, parameters match paths, replies are described', async (t) => {
  const { call } = await givenHttp(t, () => routes)
  const doc = await bodyOf(await call('/openapi.json', { token: null }))
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  assert.match(doc.openapi, /^3\.1\.\d+$/)
  assert.equal(doc.info.version, version)
  for (const node of nodes(doc)) {
    if (typeof node.$ref !== 'string') continue
    const [hash, ...keys] = node.$ref.split('/')
    assert.equal(hash, '#')
    let target = doc
    for (const key of keys) target = target?.[key]
    assert.ok(target, `${node.$ref} resolves`)
  }
  const ids = operations(doc).map(({ op }) => op.operationId)
  assert.equal(new Set(ids).size, ids.length)
  for (const { key, path, op } of operations(doc)) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    const declared = op.parameters.filter((p: Doc) => p.in === 'path')
    assert.deepEqual(declared.map((p: Doc) => p.name).sort(), inPath.sort(), key)
    assert.ok(declared.every((p: Doc) => p.required === true))
    for (const [status, reply] of Object.entries<Doc>(op.responses)) {
      assert.match(status, /^[1-5]\d\d$/)
      assert.equal(typeof reply.description, 'string')
      if (Number(status) >= 400 && reply.content && key !== 'get /health') {
        const ref = reply.content['application/json'].schema.$ref
        assert.equal(ref, '#/components/schemas/Error', `${key} ${status}`)
      }
    }
    assert.ok(op.responses['500'], key)
    if (!op.security) for (const status of ['401', '403']) assert.ok(op.responses[status], key)
  }
})
