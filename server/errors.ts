// Every failure a caller may meet: one row = one code and one HTTP status. One table feeds REST
// ({code, message, details?}, seed 000's shape), the registry (OCI shape) and git (error:/hint: lines).
// Programmer mistakes are asserts, never rows here.
import type { BuildStatus, FailureClass } from './builds/schema.ts'

interface ErrorRow {
  status: number
  /** What it means, as the README has it. */
  means: string
  /** The error of seed 000 that it stands for. */
  seed?: `Err${string}`
}

export const ERRORS = {
  invalid_request: {
    status: 400,
    means: 'a field is missing, unknown or wrong; `details` has each',
  },
  invalid_source: {
    status: 400,
    seed: 'ErrInvalidSource',
    means: 'the source is no archive that can be built',
  },
  source_hash_mismatch: {
    status: 400,
    seed: 'ErrSourceHashMismatch',
    means: 'the source is not what `source_hash` says',
  },
  dockerfile_required: {
    status: 400,
    seed: 'ErrDockerfileRequired',
    means: 'there is no Dockerfile, neither given nor in the source',
  },
  unauthorized: { status: 401, means: 'no token, or one that is not valid here' },
  forbidden: { status: 403, means: 'the token lacks the permission that the message names' },
  not_found: {
    status: 404,
    seed: 'ErrNotFound',
    means: "there is none, or it is another tenant's",
  },
  method_not_allowed: { status: 405, means: '`Allow` has the methods of this path' },
  request_timeout: { status: 408, means: 'the request, or its body, did not arrive in time' },
  conflict: {
    status: 409,
    seed: 'ErrBuildInProgress',
    means: 'what is asked for does not go with the state it is in, as cancelling a finished build',
  },
  already_exists: { status: 409, seed: 'ErrAlreadyExists', means: 'the name or id is taken' },
  version_skew: {
    status: 409,
    means: 'a worker and the server are of versions that do not understand each other',
  },
  body_too_large: { status: 413, means: 'the body is over its limit' },
  source_too_large: { status: 413, means: 'the source is over its limit' },
  queue_full: { status: 429, means: 'too many builds of the tenant wait; try again later' },
  too_many_pushes: {
    status: 429,
    means: 'the token or the tenant has too many pushes under way; only git meets it',
  },
  too_many_uploads: {
    status: 429,
    means: 'the token has too many uploads of blobs under way or not ended; only `/v2` meets it',
  },
  headers_too_large: { status: 431, means: 'the headers of the request are over their limit' },
  internal_error: {
    status: 500,
    means: "a mistake of the server; its log has the request's number",
  },
  connections_incomplete: {
    status: 500,
    means: 'events of the connections of a build are missing, so none are shown',
  },
  runner_unusable: {
    status: 503,
    seed: 'ErrBuilderNotReady',
    means: 'no build can be run: the runner or its builder image is not ready',
  },
  cancel_pending: {
    status: 503,
    means: 'the cancel is recorded, but the worker has not answered yet; ask again',
  },
  disk_full: { status: 503, means: 'the server has too little room left' },
  database_unavailable: { status: 503, means: 'the database does not answer; try again' },
  objects_unavailable: {
    status: 503,
    means: 'the storage of the source archives does not answer; try again',
  },
  registry_unavailable: { status: 503, means: 'the registry does not answer; try again' },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

export const ERROR_CODES = Object.keys(ERRORS) as ErrorCode[]

export function statusOf(code: ErrorCode): number {
  return ERRORS[code].status
}

/** Errors of seed 000 that are ends of a build and no answers: what a build says of itself instead. */
export const BUILD_ENDS = {
  ErrBuildFailed: {
    status: 'failed',
    classes: ['build', 'source', 'oom', 'disk', 'registry', 'infra', 'lost'],
  },
  ErrBuildTimeout: { status: 'failed', classes: ['timeout'] },
  ErrBuildCancelled: { status: 'cancelled', classes: [] },
} as const satisfies Record<string, { status: BuildStatus; classes: readonly FailureClass[] }>

export interface ErrorDetail {
  code: string
  message: string
}

export interface ErrorOptionsMore {
  /** What to do about it; git shows it as `hint:` lines. */
  hint?: string
  details?: ErrorDetail[]
  /** When it is worth trying again; REST sends it as Retry-After. */
  retryAfterSeconds?: number
  cause?: unknown
}

/** A failure that may be shown to the caller: the message names what happened, the value, what to do. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly hint: string | undefined
  readonly details: ErrorDetail[] | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptionsMore = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.status = statusOf(code)
    this.hint = options.hint
    this.details = options.details
    this.retryAfterSeconds = options.retryAfterSeconds
  }
}

export function notFound(what: string): AppError {
  return new AppError('not_found', `${what} not found`)
}

export function invalidRequest(message: string, details?: ErrorDetail[]): AppError {
  return new AppError('invalid_request', message, details ? { details } : {})
}

/** The sentence of seed 000 (ErrDockerfileRequired), for REST, git and the agent alike. */
export const DOCKERFILE_REQUIRED =
  'dockerfile required: provide dockerfile parameter or include Dockerfile in source tarball'

/** Anything thrown, as an Error; what was not one keeps its text. */
export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value))
}
