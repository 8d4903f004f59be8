// The words of the domain: wire, database and code share them. Absent fields are absent, never null.
import { z } from 'zod'
import { NetworkSummary } from './connections.ts'
import { BUILD_EXAMPLE, STEP_EXAMPLE } from './examples.ts'
import { BuildTags, Submodule } from './request-schema.ts'

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
