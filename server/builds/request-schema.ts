// What a build may be asked for, wherever it comes from: a push, an app, a form. Absent fields are absent, never null.
import { z } from 'zod'
import {
  ALLOWED_DOMAINS_MAX,
  BUILD_ARG_BYTES_MAX,
  BUILD_ARGS_MAX,
  BUILD_CPUS_MAX,
  BUILD_MEMORY_MB_MAX,
  BUILD_MEMORY_MB_MIN,
  BUILD_SECRETS_MAX,
  BUILD_TAGS_MAX,
  BUILD_TIMEOUT_SECONDS_MAX,
  REPO_URL_CHARS_MAX,
} from '../limits.ts'

/** A host name, or `*.` and a host name for everything below it. */
export const DomainPattern = z
  .string()
  .max(253)
  .regex(
    /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    {
      error: 'must be a lower-case domain name, or *. and one',
    },
  )

export const BuildPolicy = z
  .strictObject({
    timeout_seconds: z
      .int()
      .min(1, { error: 'must be at least 1' })
      .max(BUILD_TIMEOUT_SECONDS_MAX, { error: `must be at most ${BUILD_TIMEOUT_SECONDS_MAX}` })
      .optional(),
    memory_mb: z.int().min(BUILD_MEMORY_MB_MIN).max(BUILD_MEMORY_MB_MAX).optional(),
    cpus: z.int().min(1).max(BUILD_CPUS_MAX).optional(),
    network_mode: z.enum(['isolated', 'egress']).optional(),
    allowed_domains: z.array(DomainPattern).max(ALLOWED_DOMAINS_MAX).optional(),
  })
  .refine((policy) => policy.network_mode !== 'isolated' || !policy.allowed_domains?.length, {
    path: ['allowed_domains'],
    error: 'needs network_mode egress',
  })
  .meta({ id: 'BuildPolicy' })
export type BuildPolicy = z.infer<typeof BuildPolicy>

/** A relative path inside the source: no `..`, no leading slash, no control characters. */
export const SourcePath = z
  .string()
  .min(1)
  .max(1024)
  .regex(/^(?!\/)(?!.*(?:^|\/)\.\.(?:\/|$))[^\u0000-\u001f\u007f]+$/, {
    error: 'must be a relative path inside the source',
  })

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/

const argName = z.string().regex(VARIABLE, {
  error: 'must be a build argument name: a letter or _, then letters, digits or _',
})

const variableName = z.string().regex(VARIABLE, {
  error: 'must be the name of a variable: a letter or _, then letters, digits or _',
})

export const BuildArgs = z
  .record(
    // BUILDKIT_* arguments steer BuildKit itself, so users can't set them.
    argName.refine((name) => !name.startsWith('BUILDKIT_'), { error: 'BUILDKIT_* is reserved' }),
    z
      .string()
      .refine((value) => Buffer.byteLength(value) <= BUILD_ARG_BYTES_MAX, {
        error: `must be at most ${BUILD_ARG_BYTES_MAX} bytes`,
      })
      .refine((value) => !value.includes('\0'), { error: 'must not contain NUL' }),
  )
  .refine((args) => Object.keys(args).length <= BUILD_ARGS_MAX, {
    error: `at most ${BUILD_ARGS_MAX} build arguments`,
  })

/** seed 000: lower case, digits and dashes, its own normal form, 3–64 characters. */
export const CacheScope = z.string().regex(/^(?=.{3,64}$)[a-z0-9]+(?:-[a-z0-9]+)*$/, {
  error: 'must be 3 to 64 lower-case letters, digits and single dashes',
})

export const ImageDigest = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: 'must be sha256: and 64 hexadecimal digits',
})

/** What is pushed beside an image, about it; the image itself is the same with and without. */
export const Attestations = z
  .strictObject({
    provenance: z.enum(['min', 'max', 'off']).optional().meta({
      description: "BuildKit's SLSA provenance, default min; max has the build arguments as well.",
    }),
    sbom: z.boolean().optional().meta({
      description: 'A list of what is in the image, by library/buildkit-syft-scanner:stable-1.',
    }),
  })
  .meta({ id: 'Attestations' })
export type Attestations = z.infer<typeof Attestations>

/** Name of a file in a secrets folder, and id of a `--mount=type=secret`: no separator, no control character. */
export const SecretId = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/, {
  error: 'must be 1 to 128 letters, digits, _, . or -, not beginning with . or -',
})

/** seed 000's SecretRef. With `env_var` the secret is offered under that id as well. */
export const SecretRef = z
  .strictObject({
    id: SecretId,
    env_var: variableName.optional(),
    optional: z.boolean().optional(),
  })
  .meta({ id: 'SecretRef' })
export type SecretRef = z.infer<typeof SecretRef>

export const SecretRefs = z
  .array(SecretRef)
  .max(BUILD_SECRETS_MAX)
  .refine((refs) => new Set(refs.flatMap(offeredAs)).size === refs.flatMap(offeredAs).length, {
    error: 'must not offer two secrets under one id or env_var',
  })

/** The ids under which a Dockerfile finds the secret. */
export function offeredAs({ id, env_var: name }: SecretRef): string[] {
  return name === undefined || name === id ? [id] : [id, name]
}

export const TagKey = z.string().regex(/^[A-Za-z0-9 _.:/=+@-]{1,128}$/, {
  error: 'must be a tag key: 1 to 128 letters, digits, spaces or _.:/=+@-',
})

/** User-defined tags of a build, as seed 000 bounds them. */
export const BuildTags = z
  .record(TagKey, z.string().max(256))
  .refine((tags) => Object.keys(tags).length <= BUILD_TAGS_MAX, {
    error: `at most ${BUILD_TAGS_MAX} tags`,
  })
  .meta({ id: 'BuildTags' })
export type BuildTags = z.infer<typeof BuildTags>

/** How a build is to be done; stored with it, so that later changes of the app don't alter it. */
export const Submodule = z.object({
  path: z.string(),
  url: z.string(),
  commit: z.string(),
  app: z.string().optional().meta({ description: 'Only of one that is an app of this server.' }),
})
export type Submodule = z.infer<typeof Submodule>

export const BuildRequest = z.strictObject({
  dockerfile_path: SourcePath.optional(),
  target: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, {
      error: 'must be the name of a stage: 1 to 128 letters, digits, _, . or -',
    })
    .optional(),
  build_args: BuildArgs.optional(),
  build_policy: BuildPolicy.optional(),
  /** Text of a Dockerfile; wins over one in the source and is never written into it. */
  dockerfile: z.string().min(1).optional(),
  /** Pins the base image of the final stage. */
  base_image_digest: ImageDigest.optional(),
  secrets: SecretRefs.optional(),
  cache_scope: CacheScope.optional(),
  global_cache_key: CacheScope.optional(),
  is_admin_build: z.boolean().optional(),
  /** Part of the cache key. */
  runtime: CacheScope.optional(),
  /** `apps/<tenant>/<name>[:tag]`; the image is published there as well, and is the build's image_ref. */
  image_name: z.string().max(512).optional(),
  /** `linux/amd64`; only the worker's own. */
  platform: z.string().max(64).optional(),
  builder_id: z.string().max(64).optional(),
  /** Where the source is fetched from, inside the sandbox; the build's `ref` says what of it. */
  repo_url: z.string().max(REPO_URL_CHARS_MAX).optional(),
  /** The secret that opens it. */
  repo_secret: SecretId.optional(),
  attestations: Attestations.optional(),
  no_cache: z.boolean().optional(),
  /** Commit time in seconds; becomes SOURCE_DATE_EPOCH. */
  source_date_epoch: z.int().nonnegative().optional(),
  /** Of the commit, as they were found when it was queued. */
  submodules: z.array(Submodule).optional(),
})
export type BuildRequest = z.infer<typeof BuildRequest>
