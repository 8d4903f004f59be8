// The quick side of `npm run fuzz`, always with the same seed: whatever is sent to whichever operation of the
// API document, the answer is one that the document has, and never a 5xx.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { HOSTILE, sendRaw } from '../helpers/hostile.ts'
import { bodyOf, jsonBody } from '../helpers/http.ts'

const SEED = 20_260_501
const RUNS = 25
/** More for what has a body: there is more to get wrong. */
const BODY_RUNS = 150
const PROTOCOLS = new Set(['git', 'registry'])

/** What PostgreSQL, a command line or an environment cannot hold. */
const UNSTORABLE = ['\u0000', '\ud800', { A: '\u0000' }, { A: '\ud800' }, ['\u0000']]

/** There when the test starts. */
const REAL = ['hello', 'v8xx8ycar6vvro8uxr9b7e9e']

interface Operation {
  method: string
  path: string
  // biome-ignore lint/suspicious/noExplicitAny: a document of foreign shape
  op: any
}

interface Attempt {
  segments: string[]
  query: [string, string][]
  headers: Record<string, string>
  body: { type: string; text: string } | undefined
}

/** A request is refused for the first thing that is wrong, so most parts of it are right. */
function mostly<A, B>(usual: fc.Arbitrary<A>, other: fc.Arbitrary<B>): fc.Arbitrary<A | B> {
  return fc.oneof({ arbitrary: usual, weight: 4 }, { arbitrary: other, weight: 1 })
}

function operationsOf(doc: { paths: Record<string, object> }): Operation[] {
  return Object.entries(doc.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, op]) => ({ method, path, op })),
  )
}

function attempts({ op }: Operation): fc.Arbitrary<Attempt> {
  const names = (op.parameters ?? [])
    .filter((parameter: { in: string }) => parameter.in === 'query')
    .map((parameter: { name: string }) => parameter.name)
  const text = fc.oneof(
    fc.constantFrom(...HOSTILE),
    fc.string({ unit: 'grapheme', maxLength: 40 }).map(encodeURIComponent),
  )
  const name = fc.constantFrom(...names, 'follow', '__proto__', 'x[y]')
  return fc.record({
    segments: fc.array(mostly(fc.constantFrom(...REAL), text), { minLength: 2, maxLength: 2 }),
    query: mostly(fc.constant([]), fc.array(fc.tuple(name, text), { maxLength: 3 })),
    headers: fc.dictionary(
      fc.constantFrom('last-event-id', 'accept', 'if-none-match', 'idempotency-key', 'range'),
      fc.constantFrom('0', '-1', '99999999999999999999', 'text/plain', '*/*', '"', 'x'.repeat(300)),
      { maxKeys: 2 },
    ),
    body: op.requestBody ? bodyOfKind(op.requestBody) : fc.constant(undefined),
  })
}

// biome-ignore lint/suspicious/noExplicitAny: a document of foreign shape
function bodyOfKind({ content }: any): fc.Arbitrary<{ type: string; text: string }> {
  const form = content['multipart/form-data']
  const json = content['application/json']
  const kinds = [
    ...(form ? [forms(form)] : []),
    ...(json ? [bodies(json).map((text) => ({ type: 'application/json', text }))] : []),
  ]
  return fc.oneof(...kinds)
}

/** Parts with names of the document, in any order, with right and wrong texts. */
// biome-ignore lint/suspicious/noExplicitAny: a document of foreign shape
function forms({ examples }: any): fc.Arbitrary<{ type: string; text: string }> {
  const example: Record<string, unknown> = Object.assign(
    {},
    ...Object.values<{ value: object }>(examples).map(({ value }) => value),
  )
  const right = fc.constantFrom(...Object.entries(example))
  const name = fc.constantFrom(...Object.keys(example), 'app', 'cpus', 'dockerfile', 'unknown')
  const text = fc.oneof(fc.constantFrom(...HOSTILE), fc.json(), fc.string({ unit: 'binary' }))
  return fc.array(mostly(right, fc.tuple(name, text)), { maxLength: 5 }).map((parts) => ({
    type: 'multipart/form-data; boundary=b',
    text: `${parts
      .map(([name, value]) => {
        const file = name === 'source' ? '; filename="source.tar"' : ''
        const shown = typeof value === 'string' ? value : JSON.stringify(value)
        return `--b\r\ncontent-disposition: form-data; name="${name}"${file}\r\n\r\n${shown}\r\n`
      })
      .join('')}--b--\r\n`,
  }))
}

/** An example of the document with some fields replaced, or something else altogether. */
// biome-ignore lint/suspicious/noExplicitAny: a document of foreign shape
function bodies(media: any): fc.Arbitrary<string> {
  const examples = Object.values<{ value: unknown }>(media.examples).map(({ value }) => value)
  const changed = fc
    .tuple(fc.constantFrom(...examples, {}), fc.object({ maxDepth: 2, withNullPrototype: true }))
    .map(([example, change]) => JSON.stringify({ ...(example as object), ...change }))
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom(...UNSTORABLE))
  const fields = [...new Set(examples.flatMap((example) => Object.keys(example as object)))]
  const oneField = fc
    .tuple(fc.constantFrom(...examples, {}), fc.constantFrom('name', ...fields), value)
    .map(([example, field, value]) => JSON.stringify({ ...(example as object), [field]: value }))
  return fc.oneof(
    changed,
    { arbitrary: oneField, weight: 4 },
    fc.json(),
    fc.string(),
    fc.constantFrom('', '{', '"\\ud800"'),
  )
}

function send(api: TestApi, { method, path }: Operation, attempt: Attempt, token: string) {
  const { segments, query, headers, body } = attempt
  let i = 0
  const where = path.replaceAll(/\{\w+\}/g, () => segments[i++] || 'x')
  const search = query.map(([name, value]) => `${encodeURIComponent(name)}=${value}`).join('&')
  return sendRaw(api.url, {
    method: method.toUpperCase(),
    path: search ? `${where}?${search}` : where,
    headers: {
      ...headers,
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': body.type }),
    },
    body: body?.text,
  })
}

test('whatever is sent, the answer is a documented one and never a 5xx', async (t) => {
  const api = await givenApi(t)
  await givenBuild(api.db, { id: 'v8xx8ycar6vvro8uxr9b7e9e', app: 'hello' })
  const cancelled = await api.call('/builds/v8xx8ycar6vvro8uxr9b7e9e', { method: 'DELETE' })
  assert.equal(cancelled.status, 204)
  const token = await api.token({ admin: true })
  assert.equal((await api.call('/apps', jsonBody('POST', { name: 'hello' }))).status, 201)
  const doc = await bodyOf(await api.call('/openapi.json', { token: null }))
  for (const operation of operationsOf(doc)) {
    const { method, path, op } = operation
    if (PROTOCOLS.has(op.tags[0])) continue
    await fc.assert(
      fc.asyncProperty(attempts(operation), async (attempt) => {
        const { status, type } = await send(api, operation, attempt, token)
        // A path that is none of the document's any more, as `/builds/../x`, is any unknown path.
        const documented = op.responses[status] ?? ([404, 405].includes(status) ? {} : undefined)
        assert.ok(documented && status < 500, `${method} ${path} answered ${status}`)
        const types = Object.keys(documented.content ?? {})
        if (types.length > 0) assert.ok(types.includes(type ?? ''), `${method} ${path} ${type}`)
      }),
      { numRuns: op.requestBody ? BODY_RUNS : RUNS, seed: SEED },
    )
  }
})
