// An app: one hosted repository and how pushes to it are built. On the wire and in the database settings are
// snake_case; inside they are camelCase. Absent settings are absent: defaults are filled in on reading.
import { z } from 'zod'
import { TenantName } from '../auth/tenant.ts'
import { BuilderId } from '../builders/schema.ts'
import {
  Attestations,
  BuildArgs,
  BuildPolicy,
  BuildRequest,
  CacheScope,
  type SecretRef,
  SecretRefs,
  SourcePath,
} from '../builds/request-schema.ts'
import {
  DEPLOY_BRANCHES_MAX,
  KEEP_IMAGES_MAX,
  PRIORITY_MAX,
  PRIORITY_MIN,
  RETENTION_DAYS_MAX,
} from '../limits.ts'
import type { Supersede } from '../queue/supersede.ts'
import { BranchName } from './branch-name.ts'
import { APP_EXAMPLE, CREATE_APP_EXAMPLE, UPDATE_APP_EXAMPLE } from './examples.ts'

export const DEPLOY_BRANCHES_DEFAULT: readonly string[] = ['main', 'master']

/** What becomes of a push to a branch that is no deploy branch. */
export const BranchPolicy = z.enum(['warn', 'reject', 'build'])
export type BranchPolicy = z.infer<typeof BranchPolicy>

export const AppName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
    error:
      'must be 1 to 63 lower-case letters, digits or dashes, not beginning or ending with a dash',
  })
  .meta({ examples: ['web'] })

export const AppRetention = z
  .strictObject({
    keep_images: z.int().min(1).max(KEEP_IMAGES_MAX).optional().meta({
      description: 'The newest so many images stay.',
    }),
    max_age_days: z.int().min(1).max(RETENTION_DAYS_MAX).optional().meta({
      description: 'Older images go. The last image of each branch always stays.',
    }),
  })
  .meta({ id: 'AppRetention', description: 'Which images go; default those of the server.' })
export type AppRetention = z.infer<typeof AppRetention>

const settings = {
  deploy_branches: z
    .array(BranchName)
    .min(1)
    .max(DEPLOY_BRANCHES_MAX)
    .refine((names) => new Set(names).size === names.length, {
      error: 'must not name a branch twice',
    })
    .meta({
      description: 'Branches whose pushes are built; default main and master.',
      uniqueItems: true,
    }),
  branch_policy: BranchPolicy.meta({
    description: 'What becomes of pushes to other branches: stored with a warning, refused, built.',
  }),
  gate: z.boolean().meta({
    description: 'Build before the branch moves: a push whose build fails is rejected.',
  }),
  dockerfile_path: SourcePath.meta({ description: 'Default Dockerfile.' }),
  target: BuildRequest.shape.target
    .unwrap()
    .meta({ description: 'Stage to build; default the last.' }),
  build_args: BuildArgs,
  policy: BuildPolicy,
  cache_scope: CacheScope.meta({
    description: "Cache its builds share within the tenant; default one of the app's own.",
  }),
  attestations: Attestations,
  secrets: SecretRefs.meta({ description: 'Secrets that its builds get; none by default.' }),
  submodules: z
    .enum(['fetch', 'ignore'])
    .meta({ description: 'ignore: their folders are empty in its builds; default fetch.' }),
  builder: z
    .union([z.enum(['default', 'off']), BuilderId])
    .meta({ description: "default: the app's own; off: none; or the id of another builder." }),
  retention: AppRetention,
  priority: z.int().min(PRIORITY_MIN).max(PRIORITY_MAX).meta({
    description: 'Of its builds, among those of the tenant; higher goes first, default 0.',
  }),
  supersede: z.enum(['queued', 'running', 'off']).meta({
    description:
      'Older builds of a branch that a newer push of it cancels: those queued, also those running, or none ' +
      '(the default).',
  }),
}

/** Settings as they are stored and sent. */
export const WireSettings = z.strictObject(settings).partial()
export type WireSettings = z.infer<typeof WireSettings>

export const CreateApp = z
  .strictObject({ name: AppName, ...WireSettings.shape })
  .meta({ id: 'CreateApp', examples: [CREATE_APP_EXAMPLE] })

export const UpdateApp = z
  .strictObject({
    deploy_branches: settings.deploy_branches.nullable(),
    branch_policy: settings.branch_policy.nullable(),
    gate: settings.gate.nullable(),
    dockerfile_path: settings.dockerfile_path.nullable(),
    target: settings.target.nullable(),
    build_args: settings.build_args.nullable(),
    policy: settings.policy.nullable(),
    cache_scope: settings.cache_scope.nullable(),
    attestations: settings.attestations.nullable(),
    secrets: settings.secrets.nullable(),
    builder: settings.builder.nullable(),
    retention: settings.retention.nullable(),
    priority: settings.priority.nullable(),
    supersede: settings.supersede.nullable(),
    submodules: settings.submodules.nullable(),
  })
  .partial()
  .meta({
    id: 'UpdateApp',
    examples: [UPDATE_APP_EXAMPLE],
    description:
      'Each setting given replaces the old one as a whole; null takes it back to its default.',
  })
export type UpdateApp = z.infer<typeof UpdateApp>

/** An app as the API shows it. */
export const WireApp = z
  .object({
    name: AppName,
    tenant: TenantName,
    git_url: z.string().meta({ description: 'Remote to push to.' }),
    ...WireSettings.shape,
    deploy_branches: settings.deploy_branches,
    created_at: z.string(),
    updated_at: z.string(),
  })
  .meta({ id: 'App', examples: [APP_EXAMPLE] })
export type WireApp = z.infer<typeof WireApp>

export interface AppSettings {
  deployBranches?: readonly string[] | undefined
  branchPolicy?: BranchPolicy | undefined
  gate?: boolean | undefined
  dockerfilePath?: string | undefined
  target?: string | undefined
  buildArgs?: Readonly<Record<string, string>> | undefined
  policy?: BuildPolicy | undefined
  cacheScope?: string | undefined
  attestations?: Attestations | undefined
  secrets?: readonly SecretRef[] | undefined
  builder?: string | undefined
  retention?: AppRetention | undefined
  priority?: number | undefined
  supersede?: Supersede | undefined
  submodules?: 'fetch' | 'ignore' | undefined
}

export interface App {
  id: string
  tenant: string
  name: string
  settings: AppSettings
  createdAt: Date
  updatedAt: Date
}

export type EffectiveSettings = AppSettings & {
  deployBranches: readonly string[]
  branchPolicy: BranchPolicy
}

/** With the defaults that do not depend on the server's configuration. */
export function effectiveSettings(app: AppSettings): EffectiveSettings {
  return {
    ...app,
    deployBranches: app.deployBranches ?? DEPLOY_BRANCHES_DEFAULT,
    branchPolicy: app.branchPolicy ?? 'warn',
  }
}

export function fromWire(wire: WireSettings): AppSettings {
  return present({
    deployBranches: wire.deploy_branches,
    branchPolicy: wire.branch_policy,
    gate: wire.gate,
    dockerfilePath: wire.dockerfile_path,
    target: wire.target,
    buildArgs: wire.build_args,
    policy: wire.policy,
    cacheScope: wire.cache_scope,
    attestations: wire.attestations,
    secrets: wire.secrets,
    builder: wire.builder,
    retention: wire.retention,
    priority: wire.priority,
    supersede: wire.supersede,
    submodules: wire.submodules,
  })
}

export function toWire(app: AppSettings): WireSettings {
  return present({
    deploy_branches: app.deployBranches && [...app.deployBranches],
    branch_policy: app.branchPolicy,
    gate: app.gate,
    dockerfile_path: app.dockerfilePath,
    target: app.target,
    build_args: app.buildArgs && { ...app.buildArgs },
    policy: app.policy,
    cache_scope: app.cacheScope,
    attestations: app.attestations,
    secrets: app.secrets && [...app.secrets],
    builder: app.builder,
    retention: app.retention,
    priority: app.priority,
    supersede: app.supersede,
    submodules: app.submodules,
  })
}

function present<T extends object>(fields: T): T {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  ) as T
}
