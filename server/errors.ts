// Every failure a caller may meet: one row = one code and one HTTP status. One table feeds REST
// ({code, message, details?}, seed 000's shape), the registry (OCI shape) and git (error:/hint: lines).
// Programmer mistakes are asserts, never rows here.

const STATUS = {
  invalid_request: 400,
  invalid_source: 400,
  dockerfile_required: 400,
  source_hash_mismatch: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  conflict: 409,
  already_exists: 409,
  body_too_large: 413,
  source_too_large: 413,
  queue_full: 429,
  internal_error: 500,
  runner_unusable: 503,
  disk_full: 503,
  database_unavailable: 503,
  registry_unavailable: 503,
} as const

export type ErrorCode = keyof typeof STATUS

export const ERROR_CODES = Object.keys(STATUS) as ErrorCode[]

export function statusOf(code: ErrorCode): number {
  return STATUS[code]
}

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
    this.status = STATUS[code]
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
