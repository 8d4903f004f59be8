// The secrets of one attempt: resolved before its pod boots, so that a missing one costs no machine, and
// held in memory until the attempt is over.
import { randomBytes } from 'node:crypto'
import type { GivenSecret } from '../../agent/protocol.ts'
import type { SecretRef } from '../builds/request-schema.ts'
import { secretRefsOf } from '../builds/secret-refs.ts'
import { BUILD_SECRETS_BYTES_MAX, SECRET_HIDDEN_CHARS_MIN } from '../limits.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import { isHideable } from '../secrets/forms.ts'
import type { Log } from '../telemetry/log.ts'
import type { Grant } from '../workers/link.ts'
import { BuildFailure } from './failure.ts'
import { createSecretsService } from './secrets-service.ts'

const NONCE_BYTES = 32

export interface BuildSecrets {
  /** Those for the Dockerfile; an optional one that is not set is not among them. */
  given: GivenSecret[]
  values: ReadonlyMap<string, Buffer>
  /** What the agent must know to be given them, once. */
  nonce: string
  /** For the build's log: names only. Absent when the build wants no secrets. */
  line?: string
}

/** Throws BuildFailure: `source` when a secret is missing, `infra` when one is set and can't be had. */
export function buildSecrets(
  build: Pick<ClaimedBuild, 'tenant' | 'app' | 'request'>,
  { secrets: values, secretsError }: Pick<Grant, 'secrets' | 'secretsError'>,
): BuildSecrets {
  const refs = secretRefsOf(build.request)
  const nonce = randomBytes(NONCE_BYTES).toString('base64url')
  if (secretsError !== undefined) {
    throw new BuildFailure('infra', `the build's secrets could not be read: ${secretsError}`)
  }
  if (refs.length === 0) return { given: [], values: new Map(), nonce }
  const missing = refs.filter(({ id, optional }) => !values.has(id) && !optional)
  if (missing.length > 0) throw new BuildFailure('source', sayMissing(missing, build))
  const bytes = [...values.values()].reduce((sum, value) => sum + value.length, 0)
  if (bytes > BUILD_SECRETS_BYTES_MAX) {
    const message = `the build's secrets have ${bytes} bytes together, at most ${BUILD_SECRETS_BYTES_MAX} are allowed`
    throw new BuildFailure('source', message)
  }
  const given = (build.request.secrets ?? [])
    .filter(({ id }) => values.has(id))
    .map(({ id, env_var }) => ({ id, ...(env_var === undefined ? {} : { env_var }) }))
  const line = `Secrets: ${refs.map((ref) => describe(ref, values.get(ref.id))).join(', ')}`
  return { given, values, nonce, line }
}

/** Of one pod; undefined for a build without secrets: then nothing listens. */
export function secretsService(
  { nonce, values: secrets }: BuildSecrets,
  { buildId, log }: { buildId: string; log: Log },
) {
  if (secrets.size === 0) return undefined
  const onRefused = (reason: string) =>
    log.warn({ buildId, reason }, 'a guest asked for secrets in vain')
  return createSecretsService({ nonce, secrets, onRefused })
}

function sayMissing(
  missing: readonly SecretRef[],
  { app, tenant, request }: Pick<ClaimedBuild, 'app' | 'tenant' | 'request'>,
): string {
  const ids = missing.map(({ id }) => id)
  const what =
    ids.length === 1 ? `secret ${ids[0]} is not set` : `secrets ${ids.join(', ')} are not set`
  const [id] = ids
  const byApi = app === undefined ? '' : `PUT /apps/${app}/secrets/${id}, or `
  const without = missing.some((each) => each.id === request.repo_secret)
    ? ''
    : '; mark it optional to build without it'
  return `${what}: ${byApi}a file ${tenant}/${id} or shared/${id} in BUILD_SECRETS_DIR${without}`
}

function describe({ id, env_var: name, optional }: SecretRef, value: Buffer | undefined): string {
  const shown = name === undefined || name === id ? id : `${id} (also ${name})`
  if (value === undefined) return `${shown} (${optional ? 'optional, ' : ''}not set)`
  if (isHideable(value)) return shown
  return `${shown} (under ${SECRET_HIDDEN_CHARS_MIN} characters, so not hidden in this log)`
}
