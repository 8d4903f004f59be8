// What a form asks for becomes what is stored with the build; contradictions are refused here.
import { may, type Principal } from '../auth/principal.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { validate } from '../http/validation.ts'
import { PRIORITY_MAX } from '../limits.ts'
import type { SubmitFields } from './form.ts'
import { parseImageName } from './image-name.ts'
import { requireNative } from './platform.ts'
import { type BuildPolicy, BuildRequest } from './request-schema.ts'

const FLAT = ['timeout_seconds', 'memory_mb', 'cpus'] as const

/** `defaults`: how the app builds, when a hosted commit is built again. */
export function requestOf(
  fields: SubmitFields,
  principal: Principal,
  defaults: BuildRequest = {},
): BuildRequest {
  requireAllowed(fields, principal)
  const policy = { ...defaults.build_policy, ...policyOf(fields) }
  const { tags, source_hash, app, ref, commit, priority, ...rest } = fields
  const { timeout_seconds, memory_mb, cpus, ...own } = rest
  return validate(
    BuildRequest,
    {
      ...defaults,
      ...own,
      ...(Object.keys(policy).length > 0 ? { build_policy: policy } : {}),
    },
    'field',
  )
}

function requireAllowed(fields: SubmitFields, principal: Principal): void {
  if (fields.is_admin_build && !may(principal, 'build:admin')) {
    throw new AppError('forbidden', 'missing required scope: build:admin, for is_admin_build')
  }
  if ((fields.priority ?? 0) > PRIORITY_MAX && !may(principal, 'build:admin')) {
    const why = `for a priority above ${PRIORITY_MAX}`
    throw new AppError('forbidden', `missing required scope: build:admin, ${why}`)
  }
  if (fields.platform !== undefined) requireNative(fields.platform)
  if (fields.image_name !== undefined) parseImageName(fields.image_name, principal.tenant)
}

function policyOf(fields: SubmitFields): BuildPolicy {
  const policy: BuildPolicy = { ...fields.build_policy }
  for (const name of FLAT) {
    const flat = fields[name]
    if (flat === undefined) continue
    const other = policy[name]
    if (other !== undefined && other !== flat) {
      throw invalidRequest(`${name}=${flat} and build_policy.${name}=${other} differ: give one`)
    }
    policy[name] = flat
  }
  return policy
}
