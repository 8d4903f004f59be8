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
import { ErrorDocument } from './error-schema.ts'
import { json, publicRoute, type ReplyDoc, type Route } from './route.ts'

const packageFile = new URL('../../package.json', import.meta.url)

/** The rows given plus the row that serves the document of them all. */
export function withOpenapi(routes: readonly Route[]): Route[] {
  const own = publicRoute({
    id: 'getOpenapi',
    method: 'get',
    path: '/openapi.json',
    summary: 'This document',
    tag: 'service',
    replies: { 200: json('OpenAPI 3.1', z.record(z.string(), z.unknown())) },
    handle: async () => ({ status: 200, json: document }),
  })
  const all = [...routes, own]
  const document = openapi(all) as unknown as Record<string, unknown>
  return all
}

export function openapi(routes: readonly Route[]) {
  const { version, description } = JSON.parse(readFileSync(packageFile, 'utf8'))
  const paths: ZodOpenApiPathsObject = {}
  for (const row of routes) {
    paths[row.path] = { ...paths[row.path], [row.method]: operation(row) }
  }
  return createDocument({
    openapi: '3.1.1',
    info: { title: 'hypeman build server', version, description },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
      },
    },
  })
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
    responses: replies({ ...errorDocs(row), ...row.replies }),
  }
}

function requestBody({ body, form }: Route): Pick<ZodOpenApiOperationObject, 'requestBody'> {
  const content = {
    ...(body ? { 'application/json': { schema: body } } : {}),
    ...(form ? { 'multipart/form-data': { schema: form.fields } } : {}),
  }
  return body || form ? { requestBody: { required: true, content } } : {}
}

function replies(docs: Record<number, ReplyDoc>): ZodOpenApiResponsesObject {
  const responses: ZodOpenApiResponsesObject = {}
  for (const [status, { description, content, headers }] of Object.entries(docs)) {
    responses[status as `${1 | 2 | 3 | 4 | 5}${string}`] = {
      description,
      ...(headers ? { headers } : {}),
      ...(content
        ? { content: mapValues(content, (schema): ZodOpenApiMediaTypeObject => ({ schema })) }
        : {}),
    }
  }
  return responses
}

function errorDocs(row: Route): Record<number, ReplyDoc> {
  const codes: ErrorCode[] = ['internal_error', ...row.errors]
  if (row.permission !== undefined) codes.push('unauthorized', 'forbidden', 'database_unavailable')
  if (row.query || row.body || row.form) codes.push('invalid_request')
  if (row.params) codes.push('not_found')
  if (row.body || row.form) codes.push('request_timeout')
  if (row.body) codes.push('body_too_large')
  const byStatus = new Map<number, Set<string>>()
  for (const code of codes) {
    const status = statusOf(code)
    byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code))
  }
  return Object.fromEntries(
    [...byStatus].map(([status, names]) => [
      status,
      json([...names].map((name) => `\`${name}\``).join(' or '), ErrorDocument),
    ]),
  )
}

function mapValues<A, B>(record: Record<string, A>, change: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
}
