// The error document as clients and /openapi.json know it (seed 000's shape).
import { z } from 'zod'
import { DOCKERFILE_REQUIRED, ERROR_CODES, type ErrorCode } from '../errors.ts'

export const ErrorDocument = z
  .object({
    code: z.enum(ERROR_CODES),
    message: z.string().meta({ description: 'What happened, with which value, and what to do.' }),
    details: z.array(z.object({ code: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Error' })

/** How each code may sound. */
export const ERROR_MESSAGES: Record<ErrorCode, string> = {
  invalid_request: 'query limit="500": must be at most 200',
  invalid_source: 'the source is no tar archive',
  dockerfile_required: DOCKERFILE_REQUIRED,
  source_hash_mismatch:
    'source hash mismatch: sha256:2c26… was expected, the source has sha256:9f86…',
  unauthorized: 'token expired',
  forbidden: 'missing required scope: build:delete',
  not_found: 'build not found',
  method_not_allowed: 'PUT /builds: only GET, HEAD, OPTIONS',
  request_timeout: 'the body did not arrive within 30000 ms',
  conflict: 'build v8xx8ycar6vvro8uxr9b7e9e is already complete (ready)',
  already_exists: 'app hello already exists',
  version_skew:
    'the worker (version 0.2.0) speaks protocol 2 and the server (version 0.1.0) 1: run the same version on both',
  body_too_large: 'the body is larger than 1048576 bytes',
  source_too_large: 'the source is larger than 536870912 bytes',
  headers_too_large: 'the headers of the request are larger than 16384 bytes',
  queue_full: '1000 builds of acme wait already; the limit is 1000. Try again later.',
  too_many_pushes: '64 pushes with this token are under way; no more are taken',
  too_many_uploads: '64 uploads with this token are under way; try again when one has ended',
  internal_error: "internal error; the server's log has it as request 3f6c…",
  runner_unusable: 'no runner can be used here: /dev/kvm does not boot a guest',
  cancel_pending:
    'build v8xx8ycar6vvro8uxr9b7e9e will be cancelled, but its worker has not stopped it within 45 s; ask again',
  connections_incomplete:
    'build v8xx8ycar6vvro8uxr9b7e9e: 12 connection events were promised, 11 are there',
  disk_full: 'the disk of the server is full',
  database_unavailable: 'the database cannot be reached; try again in a moment',
  objects_unavailable: 'object storage (bucket builds) failed at storing: TimeoutError',
  registry_unavailable: 'the registry does not answer; try again in a moment',
}
