// /openapi.json describes what the server really serves, and is sound OpenAPI 3.1.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { parse } from 'yaml'
import { openapi } from '../../../server/http/openapi.ts'
import { createRoutes } from '../../../server/http/routes.ts'
import { bodyOf, givenHttp } from '../../helpers/http.ts'

// Nothing behind the routes is called here.
const none = {} as never
const routes = createRoutes({
  apps: none,
  appCache: none,
  secrets: none,
  builds: none,
  builders: none,
  submissions: none,
  reports: none,
  retention: none,
  garbage: none,
  workers: none,
  health: none,
  metrics: none,
  publicUrl: () => 'http://localhost',
})

/** Tags of paths that are served by a protocol's own code. */
const PROTOCOLS = new Set(['git', 'registry'])

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
  const described = operations(doc).filter(({ op }) => !PROTOCOLS.has(op.tags[0]))
  assert.deepEqual(
    described.map(({ key }) => key).sort(),
    routes.map((row) => `${row.method} ${row.path}`).sort(),
  )
  for (const { path, method, op } of described) {
    if (op.security?.length === 0) continue
    const reply = await call(path.replaceAll(/\{\w+\}/g, 'abcdefgh'), {
      method: method.toUpperCase(),
      token: null,
    })
    assert.equal(reply.status, 401, `${method} ${path}`)
  }
})

test('only health, the signpost and the documentation are open to anybody', async () => {
  const open = routes.filter((row) => row.permission === undefined).map((row) => row.path)
  const documentation = ['/docs', '/docs/{file}', '/openapi.json', '/spec.json', '/spec.yaml']
  assert.deepEqual(open.sort(), ['/', ...documentation, '/health', '/swagger'].sort())
})

test('the document keeps the rules of a linter, and its examples fit their schemas', async () => {
  const config = await createConfig({
    extends: ['recommended-strict'],
    rules: {
      'operation-4xx-response': 'off', // what anybody may ask, and without input, has none
      'no-path-trailing-slash': 'off', // the registry's specification has `/v2/`
      'no-required-schema-properties-undefined': 'off', // knows no propertyNames
    },
  })
  const problems = await lintFromString({ source: JSON.stringify(openapi(routes)), config })
  assert.deepEqual(
    problems.map(({ message, location }) => `${message} at ${location[0]?.pointer}`),
    [],
  )
})

test('every request body and every reply has a description and an example; every tag has its text', async () => {
  const doc: Doc = openapi(routes)
  const tags = doc.tags.map((tag: Doc) => tag.name)
  for (const { key, op } of operations(doc)) {
    assert.ok(
      tags.includes(op.tags[0]),
      `${key}: tag ${op.tags[0]} is described in openapi-tags.ts`,
    )
    if (PROTOCOLS.has(op.tags[0])) continue
    const bodies = [['request', op.requestBody ?? {}], ...Object.entries<Doc>(op.responses)]
    for (const [which, body] of bodies) {
      for (const [type, media] of Object.entries<Doc>(body.content ?? {})) {
        assert.ok(media.examples, `${key} ${which} ${type}: .meta({ examples: […] }) on its schema`)
      }
    }
  }
})

test('the document has its usual other names, and is the same as YAML', async (t) => {
  const { call } = await givenHttp(t, () => routes)
  const doc = await bodyOf(await call('/openapi.json', { token: null }))
  assert.deepEqual(await bodyOf(await call('/spec.json', { token: null })), doc)
  const yaml = await call('/spec.yaml', { token: null })
  assert.equal(yaml.headers.get('content-type'), 'application/yaml; charset=utf-8')
  assert.deepEqual(parse(await yaml.text()), doc)
})

test('the page needs nothing but this server: own scripts and styles, a policy that allows no others', async (t) => {
  const { call } = await givenHttp(t, () => routes)
  for (const path of ['/docs', '/swagger']) {
    const page = await call(path, { token: null })
    assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
    const policy = page.headers.get('content-security-policy') ?? ''
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/)
    assert.doesNotMatch(policy, /unsafe|https?:/)
    const html = await page.text()
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link!)
    assert.ok(links.length >= 3)
    for (const link of links.filter((other) => other !== 'data:,')) {
      const file = await call(link, { token: null })
      assert.equal(file.status, 200, link)
      assert.match(
        file.headers.get('content-type') ?? '',
        /^text\/(css|javascript); charset=utf-8$/,
      )
      await file.text()
    }
  }
  assert.equal((await call('/docs/package.json', { token: null })).status, 404)
  assert.equal((await call('/docs/..%2fpackage.json', { token: null })).status, 404)
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
    const declared = (op.parameters ?? []).filter((p: Doc) => p.in === 'path')
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
    if (PROTOCOLS.has(op.tags[0])) continue
    assert.ok(op.responses['500'], key)
    if (!op.security) for (const status of ['401', '403']) assert.ok(op.responses[status], key)
  }
})
