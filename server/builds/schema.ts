// The words of the domain: wire, database and code share them. Absent fields are absent, never null.
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
import { NetworkSummary } from './connections.ts'
import { BUILD_EXAMPLE, STEP_EXAMPLE } from './examples.ts'

export const BuildStatus = z
  .enum(['queued', 'building', 'pushing', 'ready', 'failed', 'cancelled'])
  .meta({ id: 'BuildStatus' })
export type BuildStatus = z.infer<typeof BuildStatus>

export const FailureClass = z
  .enum(['build', 'source', 'timeout', 'oom', 'disk', 'registry', 'infra', 'lost'])
  .meta({ id: 'FailureClass', description: 'Why a build failed; only with status failed.' })
export type FailureClass = z.infer<typeof FailureClass>

export const TERMINAL: ReadonlySet<BuildStatus> = new Set(['ready', 'failed', 'cancelled'])

export const BuildId = z
  .string()
  .regex(/^[a-z0-9]{8,40}$/, { error: 'must be a build id' })
  .meta({ examples: [BUILD_EXAMPLE.id] })

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

export const CacheSource = z.enum(['builder', 'registry', 'mixed', 'none']).meta({
  description:
    "Where cached steps come from: the builder's disk, the registry, or `mixed` when both had state, since BuildKit does not tell which it took. `none` when no step was cached.",
})

export const CacheFacts = z
  .object({
    source: CacheSource,
    steps_total: z.int().meta({ description: 'Of the Dockerfile.' }),
    steps_cached: z.int(),
    imported: z.array(z.string()).meta({ description: 'Registry caches that were found.' }),
    exported: z.string().optional().meta({ description: 'The registry cache that was written.' }),
  })
  .meta({ id: 'BuildCache', description: 'What the build took from cache.' })
export type CacheFacts = z.infer<typeof CacheFacts>

export const Provenance = z
  .object({
    base_image_digest: z.string().optional(),
    base_images: z.array(z.object({ ref: z.string(), digest: z.string() })).optional(),
    source_hash: z.string(),
    source: z
      .object({ url: z.string(), ref: z.string().optional(), commit: z.string() })
      .optional()
      .meta({ description: 'Only of a build with `repo_url`: what was fetched.' }),
    submodules: z
      .array(Submodule)
      .optional()
      .meta({ description: 'Repositories within the source.' }),
    lockfile_hashes: z.record(z.string(), z.string()).optional(),
    buildkit_version: z.string(),
    runner: z.string().optional().meta({ description: 'What isolated the build: `qemu`.' }),
    boundary: z.string().optional().meta({
      description: 'How strong that is: `machine`, or `shared kernel`, which is weaker.',
    }),
    network: NetworkSummary.optional(),
    timestamp: z.string(),
    attestations_digest: z.string().optional().meta({
      description: 'Index of the image and its attestations, in `builds/<id>`, tag `attested`.',
    }),
    cache: CacheFacts.optional(),
  })
  .meta({ id: 'BuildProvenance' })
export type Provenance = z.infer<typeof Provenance>

export const Phases = z
  .object({
    queue_ms: z.int().optional(),
    vm_ms: z.int().optional(),
    build_ms: z.int().optional(),
    push_ms: z.int().optional(),
  })
  .meta({ id: 'BuildPhases', description: 'Milliseconds spent in each phase, as far as reached.' })
export type Phases = z.infer<typeof Phases>

/** One BuildKit vertex with its latest state. One that is still `started` when its build has ended was cut off. */
export const BuildStep = z
  .object({
    n: z.int().meta({ description: '1-based, in the order in which they began.' }),
    name: z.string(),
    state: z.enum(['started', 'cached', 'done', 'failed']),
    started_at: z.string().optional(),
    completed_at: z.string().optional(),
    duration_ms: z.number().optional(),
    error: z.string().optional(),
  })
  .meta({ examples: [STEP_EXAMPLE] })
export type BuildStep = z.infer<typeof BuildStep>

export const StepsSummary = z
  .object({
    total: z.int(),
    cached: z.int(),
    done: z.int(),
    failed: z.int(),
    running: z.int(),
  })
  .meta({
    id: 'BuildStepsSummary',
    description: 'Steps of the latest attempt, as far as known. Those cut off count in total only.',
  })
export type StepsSummary = z.infer<typeof StepsSummary>

export const BuildAttempt = z
  .object({
    attempt: z
      .int()
      .meta({ description: 'One that was handed back does not count: its number comes again.' }),
    worker: z.string().optional().meta({ description: 'Who had it; for operators only.' }),
    claimed_at: z.string(),
    ended_at: z.string().optional(),
    outcome: z
      .enum(['built', 'failed', 'cancelled', 'requeued', 'handed_back', 'lost'])
      .optional()
      .meta({
        description:
          '`built`: the image is in the registry. `requeued`: it broke and is made again. `handed_back`: its worker had to stop. `lost`: its worker was not heard of any more.',
      }),
  })
  .meta({ id: 'BuildAttempt' })
export type BuildAttempt = z.infer<typeof BuildAttempt>

/** A build as the API shows it: seed 000's fields and what a pushed build adds. Times are RFC 3339. */
export const Build = z
  .object({
    id: BuildId,
    status: BuildStatus,
    queue_position: z.int().min(1).optional(),
    priority: z.int().optional().meta({ description: 'Only when it is not 0.' }),
    queue_reason: z
      .string()
      .optional()
      .meta({ description: 'Why it waits, if not for its turn; only of a single build.' }),
    image_digest: z.string().optional(),
    image_ref: z.string().optional(),
    published_as: z.string().optional().meta({
      description: 'Where its image went as the newest of its branch.',
    }),
    image_expired_at: z.string().optional().meta({
      description:
        'Its image was removed by retention: it had `image_digest` and has no `image_ref`.',
    }),
    log_expired_at: z.string().optional().meta({
      description: 'The lines of its log and its connections were removed by retention.',
    }),
    error: z.string().optional(),
    failure_class: FailureClass.optional(),
    superseded_by: BuildId.optional().meta({
      description: 'The build of a newer push of the same ref, for which this one was cancelled.',
    }),
    provenance: Provenance.optional(),
    app: z.string().optional(),
    ref: z.string().optional(),
    commit: z.string().optional(),
    repo_url: z.string().optional().meta({ description: 'Where the source is fetched from.' }),
    pusher: z.string().optional(),
    tags: BuildTags.optional(),
    builder_id: z.string().optional(),
    builder_instance_id: z.string().optional().meta({ description: 'The pod that ran it.' }),
    attempt: z.int(),
    attempts: z.array(BuildAttempt).optional().meta({
      description: 'In the order in which they began; only of a single build, not in a list.',
    }),
    phases: Phases.optional(),
    steps: StepsSummary.optional().meta({ description: 'Only of a single build, not in a list.' }),
    created_at: z.string(),
    started_at: z.string().optional(),
    completed_at: z.string().optional(),
    duration_ms: z.int().optional(),
  })
  .meta({ id: 'Build', examples: [BUILD_EXAMPLE] })
export type Build = z.infer<typeof Build>

/** One numbered event of a build's log; `seq` starts at 1 and has no gaps. */
export type BuildEvent = { seq: number; at: Date } & (
  | { type: 'log'; line: string; step?: number }
  | { type: 'status'; status: BuildStatus }
  | { type: 'step'; step: import('../../agent/protocol.ts').Step }
  | { type: 'attempt'; attempt: number; reason: string }
)
