// A builder: a persistent disk with BuildKit's state, one build at a time. Seed 000's fields on the wire.
import { z } from 'zod'
import { BuildTags } from '../builds/request-schema.ts'
import { BUILDER_DISK_GB_MAX } from '../limits.ts'
import { BUILDER_EXAMPLE, CREATE_BUILDER_EXAMPLE } from './examples.ts'

/** Words of an app's setting `builder`, so no builder is called so. */
const RESERVED = ['default', 'off']

export const BuilderId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, {
    error: 'must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit',
  })
  .meta({ examples: [BUILDER_EXAMPLE.id] })

export const BuilderStatus = z
  .enum(['ready', 'pruning', 'deleting', 'error'])
  .meta({ id: 'BuilderStatus' })
export type BuilderStatus = z.infer<typeof BuilderStatus>

const name = z
  .string()
  .min(1)
  .max(128)
  .regex(/^\P{Cc}*$/u, { error: 'must not contain control characters' })
  // The same in words that every reader of the document understands.
  .meta({ override: { pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' } })
const diskSizeGb = z.int().min(1).max(BUILDER_DISK_GB_MAX)

export const CreateBuilder = z
  .strictObject({
    id: BuilderId.refine((id) => !RESERVED.includes(id), {
      error: `must not be ${RESERVED.join(' or ')}`,
    }).optional(),
    name: name.optional(),
    disk_size_gb: diskSizeGb.optional(),
    tags: BuildTags.optional(),
  })
  .meta({ id: 'CreateBuilder', examples: [CREATE_BUILDER_EXAMPLE] })
export type CreateBuilder = z.infer<typeof CreateBuilder>

/** A builder as the API shows it. */
export const WireBuilder = z
  .object({
    id: BuilderId,
    name: name.optional(),
    disk_size_gb: diskSizeGb,
    disk_used_bytes: z.int().meta({
      description: 'What its state takes on the host; 0 when it has none.',
    }),
    status: BuilderStatus,
    max_concurrency: z.literal(1),
    active_build_id: z.string().optional(),
    queued_builds: z.array(z.string()).meta({ description: 'Oldest first.' }),
    created_at: z.string(),
    last_used_at: z.string().optional(),
    tags: BuildTags.optional(),
  })
  .meta({ id: 'Builder', examples: [BUILDER_EXAMPLE] })
export type WireBuilder = z.infer<typeof WireBuilder>

export interface Builder {
  /** Never shown and never used again: names its folder on the worker. */
  key: string
  tenant: string
  id: string
  name: string | undefined
  /** The app it was made for, which alone may use it. */
  appId: string | undefined
  diskSizeGb: number
  /** Of the host's disk, by its state. */
  diskUsedBytes: number
  tags: Record<string, string>
  status: BuilderStatus
  /** The build that has it now. */
  activeBuildId: string | undefined
  queuedBuilds: string[]
  createdAt: Date
  lastUsedAt: Date | undefined
}

/** A build's part in a builder. */
export interface BuilderUse {
  key: string
  id: string
  /** Whether the build's success becomes the builder's next state. */
  promotes: boolean
}

export function toWire(builder: Builder): WireBuilder {
  const optional = {
    name: builder.name,
    active_build_id: builder.activeBuildId,
    last_used_at: builder.lastUsedAt?.toISOString(),
    tags: Object.keys(builder.tags).length > 0 ? builder.tags : undefined,
  }
  return {
    id: builder.id,
    disk_size_gb: builder.diskSizeGb,
    disk_used_bytes: builder.diskUsedBytes,
    status: builder.status,
    max_concurrency: 1,
    queued_builds: builder.queuedBuilds,
    created_at: builder.createdAt.toISOString(),
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
  }
}
