// The fields of POST /builds: what they mean, and how their text is understood. Seed 000's sentences where it
// has one. An empty field is as good as none, and a number of 0 or less asks for the default, as there.
import { z } from 'zod'
import { AppName } from '../apps/schema.ts'
import { invalidRequest } from '../errors.ts'
import { validate } from '../http/validation.ts'
import {
  BUILD_CPUS_MAX,
  BUILD_MEMORY_MB_MAX,
  BUILD_TIMEOUT_SECONDS_MAX,
  PRIORITY_ADMIN_MAX,
  PRIORITY_MAX,
  PRIORITY_MIN,
  REPO_URL_CHARS_MAX,
} from '../limits.ts'
import { SUBMIT_EXAMPLE, SUBMIT_JSON_EXAMPLE } from './examples.ts'
import {
  Attestations,
  BuildArgs,
  BuildPolicy,
  BuildRequest,
  BuildTags,
  SecretRefs,
} from './request-schema.ts'

const { shape } = BuildRequest
const policy = BuildPolicy.shape

/** What a caller asks for, besides the source itself. */
export const SubmitFields = z.strictObject({
  dockerfile: shape.dockerfile.meta({
    description: 'Text of a Dockerfile; wins over one in the source and is not written into it.',
  }),
  dockerfile_path: shape.dockerfile_path.meta({
    description: 'Dockerfile within the source; default Dockerfile.',
  }),
  target: shape.target.meta({ description: 'Stage to build; default the last.' }),
  platform: shape.platform.meta({
    description: "os/arch[/variant]; only the server's own.",
    examples: ['linux/amd64'],
  }),
  build_args: BuildArgs.optional().meta({ description: 'JSON object of text to text.' }),
  secrets: SecretRefs.optional().meta({ description: 'JSON array of {"id", "env_var"?}.' }),
  tags: BuildTags.optional().meta({ description: 'JSON object of text to text.' }),
  build_policy: BuildPolicy.optional().meta({ description: 'JSON object.' }),
  timeout_seconds: policy.timeout_seconds,
  memory_mb: policy.memory_mb,
  cpus: policy.cpus,
  base_image_digest: shape.base_image_digest.meta({
    description: "Digest the final stage's base image must have.",
  }),
  source_hash: z
    .string()
    .regex(/^(?:sha256:)?[0-9a-f]{64}$/, { error: 'must be a SHA-256 in lower-case hexadecimal' })
    .optional()
    .meta({ description: 'SHA-256 of the archive as it is sent; another one is refused.' }),
  cache_scope: shape.cache_scope.meta({
    description:
      "Cache within the tenant that is used and written; default none, with `app` the app's.",
  }),
  global_cache_key: shape.global_cache_key.meta({
    description: 'Cache for all tenants that is used, and written with `is_admin_build`.',
  }),
  runtime: shape.runtime.meta({ description: 'Part of the cache key.' }),
  is_admin_build: shape.is_admin_build.meta({ description: 'Needs the permission `build:admin`.' }),
  image_name: shape.image_name.meta({ description: 'apps/<tenant>/<name>[:tag].' }),
  builder_id: shape.builder_id,
  no_cache: shape.no_cache.meta({
    description: 'Uses no cache, and writes a new one where it would have been written.',
  }),
  attestations: Attestations.optional().meta({
    description: 'JSON object {"provenance"?: "min" | "max" | "off", "sbom"?: boolean}.',
  }),
  priority: z
    .int()
    .min(PRIORITY_MIN)
    .max(PRIORITY_ADMIN_MAX)
    .optional()
    .meta({
      description:
        `Higher goes first: -10 to ${PRIORITY_MAX} among the builds of the tenant, default that of \`app\` or 0; ` +
        `up to ${PRIORITY_ADMIN_MAX} before the builds of all tenants, with the permission \`build:admin\`.`,
    }),
  app: AppName.optional().meta({ description: 'Build a commit of this hosted app again.' }),
  ref: z
    .string()
    .max(512)
    .optional()
    .meta({ description: 'Branch or tag of `app` or `repo_url`; of the latter also a full hash.' }),
  commit: z
    .string()
    .regex(/^[0-9a-f]{7,40}$/, { error: 'must be 7 to 40 hexadecimal digits' })
    .optional()
    .meta({ description: 'Commit of `app`.' }),
  repo_url: z.string().max(REPO_URL_CHARS_MAX).optional().meta({
    description:
      'https://host/path that the build fetches under its network policy, or the address of a hosted app.',
  }),
  repo_secret: shape.repo_secret.meta({
    description: 'Secret that opens `repo_url`: `user:password`, or a password alone.',
  }),
})
export type SubmitFields = z.infer<typeof SubmitFields>

/** The whole form, for the document and for the names that are taken. */
export const SubmitForm = z
  .object({
    source: z.string().optional().meta({
      contentMediaType: 'application/octet-stream',
      description:
        'tar archive, plain or gzip-compressed; required unless `app` or `repo_url` is given.',
    }),
    ...SubmitFields.shape,
    // OpenAPI would send an array as several parts; here it is the text of one.
    secrets: z.string().optional().meta({
      contentMediaType: 'application/json',
      description: 'JSON array of {"id", "env_var"?, "optional"?}.',
    }),
  })
  .meta({ id: 'SubmitBuild', examples: [SUBMIT_EXAMPLE] })

/** What has no source of its own may come as JSON. */
export const SubmitJson = z
  .strictObject(SubmitFields.shape)
  .meta({ id: 'SubmitBuildJson', examples: [SUBMIT_JSON_EXAMPLE] })

type Read = (text: string, name: string) => unknown

const TEXTS = 'a JSON object with string key-value pairs'
const texts = z.record(z.string(), z.string())
const refs = z.array(z.looseObject({ id: z.string(), env_var: z.string().optional() }))

const READERS: Partial<Record<string, Read>> = {
  // Clients that follow the rules of HTML forms send every line's end as CR LF.
  dockerfile: (text) => text.replaceAll('\r\n', '\n'),
  timeout_seconds: number({ max: BUILD_TIMEOUT_SECONDS_MAX, unit: '' }),
  memory_mb: number({ max: BUILD_MEMORY_MB_MAX, unit: ' MB' }),
  cpus: number({ max: BUILD_CPUS_MAX, unit: '' }),
  priority: wholeNumber,
  is_admin_build: truth,
  no_cache: truth,
  build_args: jsonOf(texts, TEXTS),
  tags: jsonOf(texts, TEXTS),
  secrets: jsonOf(refs, 'a JSON array of {"id": "...", "env_var": "..."} objects'),
  attestations: jsonOf(z.looseObject({}), 'a JSON object'),
  build_policy: jsonOf(z.looseObject({}), 'a JSON object'),
}

/** Throws AppError `invalid_request` that names the field. */
export function readFields(form: ReadonlyMap<string, string>): SubmitFields {
  const values = [...form]
    .filter(([, text]) => text !== '')
    .map(([name, text]) => [name, (READERS[name] ?? asIs)(text, name)])
    .filter(([, value]) => value !== undefined)
  return validate(SubmitFields, Object.fromEntries(values), 'field')
}

function asIs(text: string): string {
  return text
}

function wholeNumber(text: string, name: string): number {
  if (!/^[+-]?\d{1,15}$/.test(text)) throw wrong(name, text, 'must be a whole number')
  return Number(text)
}

function number({ max, unit }: { max: number; unit: string }): Read {
  return (text, name) => {
    const value = wholeNumber(text, name)
    if (value > max) throw invalidRequest(`${name} exceeds maximum of ${max}${unit}`)
    return value > 0 ? value : undefined
  }
}

function truth(text: string, name: string): true | undefined {
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return undefined
  throw wrong(name, text, 'must be true or false')
}

function jsonOf(schema: z.ZodType, what: string): Read {
  return (text, name) => {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw invalidRequest(`${name} must be ${what}`)
    }
    if (!schema.safeParse(value).success) throw invalidRequest(`${name} must be ${what}`)
    return value
  }
}

function wrong(name: string, text: string, what: string) {
  return invalidRequest(`field ${name}=${JSON.stringify(text.slice(0, 80))}: ${what}`)
}
