// The OpenAPI 3.1 document, made of the same rows as the router.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import {
  createDocument,
  type ZodOpenApiMediaTypeObject,
  type ZodOpenApiOperationObject,
  type ZodOpenApiPathsObject,
  type ZodOpenApiResponsesObject,
} from 'zod-openapi'
import { type ErrorCode, statusOf } from '../errors.ts'
import { ERROR_MESSAGES, ErrorDocument } from './error-schema.ts'
import { examplesOf } from './examples.ts'
import { PROTOCOL_PATHS } from './openapi-protocols.ts'
import { TAGS } from './openapi-tags.ts'
import type { ReplyDoc, Route } from './route.ts'
import { SSE_TYPE } from './sse.ts'

const INTRODUCTION = `Errors are \`{code, message, details?}\`: the code is for programs, the message says what was wrong, with
which value, and what to do. What belongs to another tenant answers 404. Absent fields are absent, never null.`

const packageFile = new URL('../../package.json', import.meta.url)

export function openapi(routes: readonly Route[]) {
  const { version, description, license } = JSON.parse(readFileSync(packageFile, 'utf8'))
  const paths: ZodOpenApiPathsObject = {}
  for (const row of routes) {
    paths[row.path] = { ...paths[row.path], [row.method]: operation(row) }
  }
  return createDocument({
    openapi: '3.1.1',
    info: {
      title: 'hypeman build server',
      version,
      description: `${description}\n\n${INTRODUCTION}`,
      license: { name: license, identifier: license },
    },
    servers: [{ url: '/' }],
    tags: TAGS,
    security: [{ token: [] }],
    paths: { ...paths, ...PROTOCOL_PATHS },
    components: {
      schemas: streamed(routes),
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'From `npm run -s token -- --sub USER`.',
        },
        password: {
          type: 'http',
          scheme: 'basic',
          description: 'git and registry clients: any user name, the token as password.',
        },
      },
    },
  })
}

/** Schemas that only the text of frames refers to. */
function streamed(routes: readonly Route[]): Record<string, z.ZodType> {
  const found = routes
    .flatMap((row) => Object.values(row.replies))
    .flatMap(({ content }) => content?.[SSE_TYPE] ?? [])
  return Object.fromEntries(
    found.map((schema) => [String(z.globalRegistry.get(schema)?.id), schema]),
  )
}

/** Every status an operation may answer with. */
export function statusesOf(row: Route): ReadonlySet<number> {
  return new Set([...Object.keys(row.replies).map(Number), ...errorCodes(row).map(statusOf)])
}

function operation(row: Route): ZodOpenApiOperationObject {
  return {
    operationId: row.id,
    summary: row.summary,
    tags: [row.tag],
    ...(row.permission === undefined
      ? { security: [] }
      : { description: `Needs the permission \`${row.permission}\`.` }),
    requestParams: {
      ...(row.params ? { path: row.params } : {}),
      ...(row.query ? { query: row.query } : {}),
      ...(row.headers ? { header: row.headers } : {}),
    },
    ...requestBody(row),
    responses: { ...errorReplies(row), ...replies(row.replies) },
  }
}

function requestBody({ body, form }: Route): Pick<ZodOpenApiOperationObject, 'requestBody'> {
  const content = {
    ...(body ? { 'application/json': media(body) } : {}),
    ...(form?.json ? { 'application/json': media(form.json) } : {}),
    ...(form ? { 'multipart/form-data': media(form.fields) } : {}),
  }
  return body || form ? { requestBody: { required: true, content } } : {}
}

function replies(docs: Record<number, ReplyDoc>): ZodOpenApiResponsesObject {
  const responses: ZodOpenApiResponsesObject = {}
  for (const [status, { description, content, headers }] of Object.entries(docs)) {
    responses[status as `${1 | 2 | 3 | 4 | 5}${string}`] = {
      description,
      ...(headers ? { headers } : {}),
      ...(content ? { content: mapValues(content, typed) } : {}),
    }
  }
  return responses
}

function errorReplies(row: Route): ZodOpenApiResponsesObject {
  const byStatus = new Map<number, Set<ErrorCode>>()
  for (const code of errorCodes(row)) {
    const status = statusOf(code)
    byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code))
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: [...codes].map((code) => `\`${code}\``).join(' or '),
        content: { 'application/json': { schema: ErrorDocument, examples: errorExamples(codes) } },
      },
    ]),
  )
}

function errorCodes(row: Route): ErrorCode[] {
  const codes: ErrorCode[] = ['internal_error', ...row.errors]
  if (row.permission !== undefined) codes.push('unauthorized', 'forbidden', 'database_unavailable')
  if (row.query || row.body || row.form) codes.push('invalid_request')
  if (row.params) codes.push('not_found')
  if (row.body || row.form) codes.push('request_timeout')
  if (row.body || row.form?.json) codes.push('body_too_large')
  return codes
}

function errorExamples(codes: Iterable<ErrorCode>) {
  return Object.fromEntries(
    [...codes].map((code) => [code, { value: { code, message: ERROR_MESSAGES[code] } }]),
  )
}

function typed(schema: z.ZodType, type: string): ZodOpenApiMediaTypeObject {
  return type === SSE_TYPE ? frames(schema) : media(schema)
}

/** A frame of a stream, as OpenAPI 3.2 writes it: the document is the text of its `data`. */
function frames(schema: z.ZodType): ZodOpenApiMediaTypeObject {
  const { id: name } = z.globalRegistry.get(schema) ?? {}
  if (name === undefined) throw new TypeError('what a stream holds needs .meta({ id })')
  const data = {
    type: 'string' as const,
    contentMediaType: 'application/json',
    contentSchema: { $ref: `#/components/schemas/${name}` },
  }
  const properties = { id: { type: 'string' as const }, data }
  const examples = examplesOf(schema).map((value, i) => {
    const frame = { id: String(i + 1), data: JSON.stringify(value) }
    return [`example${i + 1}`, { value: frame }] as const
  })
  return {
    schema: { type: 'object', required: ['data'], properties },
    examples: Object.fromEntries(examples),
  }
}

function media(schema: z.ZodType): ZodOpenApiMediaTypeObject {
  const examples = examplesOf(schema).map((value, i) => [`example${i + 1}`, { value }] as const)
  return { schema, ...(examples.length > 0 ? { examples: Object.fromEntries(examples) } : {}) }
}

function mapValues<A, B>(
  record: Record<string, A>,
  change: (value: A, key: string) => B,
): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value, key)]))
}
