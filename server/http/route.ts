// A route is a row of data: from it come the router, the validation of what comes in, the types of the
// handler and /openapi.json. Rows must never touch Koa; what a handler needs is in its input.
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { Principal } from '../auth/principal.ts'
import type { ErrorCode } from '../errors.ts'

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
export type Permission =
  | `${'build' | 'builder' | 'app' | 'secret'}:${'read' | 'write' | 'delete' | 'admin'}`
  | 'worker:admin'
  | 'metrics:read'
  | 'retention:admin'
  | 'registry:admin'

/** One possible answer, as documented. */
export interface ReplyDoc {
  description: string
  /** Media type → schema of what is sent. */
  content?: Record<string, z.ZodType>
  headers?: z.ZodObject
}
type ReplyDocs = Record<number, ReplyDoc>

/** Where a handler streams to. The signal aborts when the client is gone or the server stops. */
export interface Sink {
  res: ServerResponse
  signal: AbortSignal
}

type JsonOf<D> = D extends { content: { 'application/json': infer S extends z.ZodType } }
  ? z.input<S>
  : never

/** What a handler answers: one of the documented statuses with its body. */
export type Reply<R extends ReplyDocs = ReplyDocs> = {
  [S in keyof R & number]: { status: S; headers?: Record<string, string> } & (
    | { json: JsonOf<R[S]> }
    | { text: string; type: string }
    | { stream: (sink: Sink) => Promise<void>; type: string }
    | { empty: true }
  )
}[keyof R & number]

/** A body of multipart/form-data: short text fields, and one field that is streamed. */
export interface FormSpec {
  /** What the fields mean, once their text is understood; no others are taken. */
  fields: z.ZodObject
  /** The field that goes to its taker while it arrives. */
  file: string
  /** The same fields but for the file as one JSON object, each with the type it stands for. */
  json?: z.ZodObject
}

/** Reads the form once; resolves with the text of each field when everything has arrived and `take` is done. */
export type ReceiveForm = (
  take: (file: Readable) => Promise<void>,
) => Promise<ReadonlyMap<string, string>>

export interface HandlerInput<P, Q, B> {
  params: P
  query: Q
  body: B
  /** Only for rows with a form. */
  receive: ReceiveForm
  /** A request header, '' when absent. */
  header(name: string): string
  /** The best of these media types for the caller, or undefined. */
  accepts(...types: string[]): string | undefined
  signal: AbortSignal
}

type NoInput = Record<never, never>

interface RouteBase<P, Q, B, R extends ReplyDocs> {
  /** operationId of the OpenAPI document. */
  id: string
  method: Method
  /** OpenAPI form: `/apps/{name}`. */
  path: string
  summary: string
  tag: string
  /** What a path names; parameters that cannot name one answer 404 `<resource> not found`. */
  resource?: string
  params?: z.ZodObject & z.ZodType<P>
  query?: z.ZodObject & z.ZodType<Q>
  /** Documented; a handler reads them with `header()`. */
  headers?: z.ZodObject
  body?: z.ZodType<B>
  form?: FormSpec
  replies: R
  /** Failures beyond those every route has. */
  errors?: readonly ErrorCode[]
}

export interface AuthorizedSpec<P, Q, B, R extends ReplyDocs> extends RouteBase<P, Q, B, R> {
  permission: Permission
  handle(input: HandlerInput<P, Q, B> & { principal: Principal }): Promise<Reply<NoInfer<R>>>
}

export interface PublicSpec<P, Q, B, R extends ReplyDocs> extends RouteBase<P, Q, B, R> {
  handle(input: HandlerInput<P, Q, B>): Promise<Reply<NoInfer<R>>>
}

/** A row of the table, with the types of its handler forgotten. */
export interface Route {
  id: string
  method: Method
  path: string
  summary: string
  tag: string
  resource: string | undefined
  /** undefined: no token needed. */
  permission: Permission | undefined
  params: z.ZodObject | undefined
  query: z.ZodObject | undefined
  headers: z.ZodObject | undefined
  body: z.ZodType | undefined
  form: FormSpec | undefined
  replies: ReplyDocs
  errors: readonly ErrorCode[]
  handle(
    input: HandlerInput<unknown, unknown, unknown> & { principal: Principal | undefined },
  ): Promise<Reply>
}

/** A route that needs a token with a permission. */
export function route<R extends ReplyDocs, P = NoInput, Q = NoInput, B = undefined>(
  spec: AuthorizedSpec<P, Q, B, R>,
): Route {
  return erase(spec, spec.permission)
}

/** A route anybody may call. */
export function publicRoute<R extends ReplyDocs, P = NoInput, Q = NoInput, B = undefined>(
  spec: PublicSpec<P, Q, B, R>,
): Route {
  return erase(spec, undefined)
}

/** The usual answer: one JSON document. */
export function json<S extends z.ZodType>(description: string, schema: S) {
  return { description, content: { 'application/json': schema } }
}

// The one place where the types of a row are forgotten: mount() gives a handler only what the row's own
// schemas have made.
function erase<P, Q, B, R extends ReplyDocs>(
  spec: AuthorizedSpec<P, Q, B, R> | PublicSpec<P, Q, B, R>,
  permission: Permission | undefined,
): Route {
  return {
    id: spec.id,
    method: spec.method,
    path: spec.path,
    summary: spec.summary,
    tag: spec.tag,
    resource: spec.resource,
    permission,
    params: spec.params,
    query: spec.query,
    headers: spec.headers,
    body: spec.body,
    form: spec.form,
    replies: spec.replies,
    errors: spec.errors ?? [],
    handle: spec.handle as unknown as Route['handle'],
  }
}
