// The configuration a build's pod got, as it may be shown: seed 000's config.json. Only the fields named here
// are shown; whatever else an agent is given, tokens and keys above all, is replaced.
import { z } from 'zod'
import type { BuildConfig } from '../../agent/protocol.ts'
import { CONFIG_EXAMPLE } from './examples.ts'
import { Attestations, SecretRefs } from './request-schema.ts'

const REDACTED = '[redacted]'

const text = z.string()

export const ShownConfig = z
  .object({
    job_id: text.meta({ description: 'The build.' }),
    dockerfile: text
      .optional()
      .meta({ description: 'Text of the Dockerfile, when one was given.' }),
    dockerfile_path: text.optional(),
    target: text.optional(),
    base_image_digest: text.optional(),
    platform: text.optional(),
    registry_url: text.meta({ description: 'The registry as it is reached inside the build.' }),
    registry_public_name: text,
    registry_mirrors: z
      .array(text)
      .optional()
      .meta({ description: 'Registries that are read through this one.' }),
    image_repository: text,
    cache_scope: text.optional(),
    cache_imports: z
      .array(text)
      .optional()
      .meta({ description: 'Repositories, asked in this order.' }),
    cache_export: text.optional(),
    cache_export_seconds: z.number().optional(),
    global_cache_key: text.optional(),
    is_admin_build: z.boolean().optional(),
    source_path: text,
    source_hash: text,
    build_args: z.record(text, text).optional(),
    secrets: SecretRefs.optional().meta({ description: 'Which secrets, never what they are.' }),
    timeout_seconds: z.int(),
    network_mode: z.enum(['isolated', 'egress']),
    allowed_domains: z.array(text).optional(),
    no_cache: z.boolean().optional(),
    source_date_epoch: z.int().optional(),
    labels: z.record(text, text).optional(),
    cache_disk: z
      .object({ max_used_mb: z.int(), keep_hours: z.int(), save: z.boolean() })
      .optional()
      .meta({ description: "The builder's disk." }),
    attestations: Attestations.optional(),
    repo: z
      .object({
        url: text,
        ref: text.optional(),
        commit: text.optional(),
        secret: text.optional().meta({ description: 'Its id.' }),
      })
      .optional()
      .meta({ description: 'Where the source is fetched from.' }),
    submodules: z
      .array(z.object({ path: text, url: text, commit: text }))
      .optional()
      .meta({ description: 'Those that are fetched into the source.' }),
    ca_certificates: text.optional(),
  })
  .catchall(z.literal(REDACTED))
  .meta({
    id: 'BuildConfig',
    examples: [CONFIG_EXAMPLE],
    description: `What the pod of the latest attempt was given; tokens and keys are "${REDACTED}".`,
  })
export type ShownConfig = z.infer<typeof ShownConfig>

export function shownConfig(config: BuildConfig): ShownConfig {
  const fields = Object.entries(config).map(([name, value]) => [
    name,
    name in ShownConfig.shape ? value : REDACTED,
  ])
  return Object.fromEntries(fields)
}
