// Environment → one typed, validated Config. Nothing else in the server reads process.env.
// Secrets are deleted from process.env once read, so that no child inherits them.
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { asError } from './errors.ts'
import {
  BUILD_DISK_GB_DEFAULT,
  BUILD_DISK_GB_MAX,
  BUILD_TIMEOUT_SECONDS_MAX,
  BUILDER_DISKS_GB_DEFAULT,
  BUILDER_DISKS_GB_MAX,
  DISK_FLOOR_MB_DEFAULT,
  DRAIN_SECONDS_DEFAULT,
  EGRESS_PORTS_DEFAULT,
  QUEUE_TTL_HOURS_DEFAULT,
  QUEUE_TTL_HOURS_MAX,
} from './limits.ts'
import { type MirrorName, parseMirrors, parsePatterns } from './mirror/sources.ts'
import type { ObjectsLocation } from './objects/location.ts'
import {
  checkObjects,
  OBJECTS_SECRET_NAMES,
  objectsSettings,
  objectsVariables,
} from './objects/settings.ts'
import {
  type RetentionSettings,
  retentionSettings,
  retentionVariables,
} from './retention/settings.ts'
import { parseSecretsKey } from './secrets/key.ts'
import {
  OTEL_SECRET_NAMES,
  type OtlpSettings,
  otelVariables,
  otlpSettings,
} from './telemetry/otlp-settings.ts'

const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' })
const wholeNumber = (min: number, max: number) =>
  z.coerce
    .number({ error: 'must be a whole number' })
    .int({ error: 'must be a whole number' })
    .min(min, { error: `must be at least ${min}` })
    .max(max, { error: `must be at most ${max}` })

const secretsKey = z.string().transform((text, context) => {
  const key = parseSecretsKey(text)
  if (key) return key
  const message = 'must be 32 bytes in hexadecimal or base64 (openssl rand -base64 32)'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

/** A list whose parser says in a sentence what is wrong. */
function listOf<T>(parse: (text: string) => T[]) {
  return z
    .string()
    .default('')
    .transform((text, context) => {
      try {
        return parse(text)
      } catch (error) {
        context.addIssue({ code: 'custom', message: asError(error).message })
        return z.NEVER
      }
    })
}

const RUNNERS = ['auto', 'qemu', 'bubblewrap'] as const

const Variables = z.object({
  HOST: z.string().min(1).default('127.0.0.1'),
  PORT: wholeNumber(0, 65_535).default(8083),
  PUBLIC_URL: httpUrl.optional(),
  DATA_DIR: z.string().min(1).optional(),
  DISK_FLOOR_MB: wholeNumber(0, 1024 * 1024 * 1024).default(DISK_FLOOR_MB_DEFAULT),
  ROLE: z
    .enum(['all', 'server', 'worker'], { error: 'must be all, server or worker' })
    .default('all'),
  SERVER_URL: httpUrl.optional(),
  WORKER_TOKEN: z.string().min(1).optional(),
  WORKER_SLOTS: wholeNumber(1, 1000).optional(),
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  METRICS_PORT: wholeNumber(0, 65_535).optional(),
  DRAIN_TIMEOUT: wholeNumber(0, BUILD_TIMEOUT_SECONDS_MAX).default(DRAIN_SECONDS_DEFAULT),
  ...objectsVariables,
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' })
    .optional(),
  JWT_SECRET: z.string().min(32, { error: 'must have at least 32 characters' }).optional(),
  SECRETS_KEY: secretsKey.optional(),
  BUILD_SECRETS_DIR: z.string().min(1).optional(),
  MAX_CONCURRENT_SOURCE_BUILDS: wholeNumber(1, 1000).default(2),
  MAX_CONCURRENT_BUILDS_PER_TENANT: wholeNumber(1, 1000).optional(),
  QUEUE_TTL_HOURS: wholeNumber(1, QUEUE_TTL_HOURS_MAX).default(QUEUE_TTL_HOURS_DEFAULT),
  BUILDER_IMAGE: z.string().min(1).optional(),
  BUILDER_DISKS_MAX_GB: wholeNumber(2, BUILDER_DISKS_GB_MAX).default(BUILDER_DISKS_GB_DEFAULT),
  BUILD_DISK_GB: wholeNumber(1, BUILD_DISK_GB_MAX).default(BUILD_DISK_GB_DEFAULT),
  BUILD_TIMEOUT: wholeNumber(1, BUILD_TIMEOUT_SECONDS_MAX).default(600),
  REGISTRY_URL: httpUrl.optional(),
  REGISTRY_USERNAME: z.string().optional(),
  REGISTRY_PASSWORD: z.string().optional(),
  REGISTRY_MIRRORS: listOf(parseMirrors),
  REGISTRY_MIRROR_REPOSITORIES: listOf(parsePatterns),
  REGISTRY_MIRROR_AUTH_FILE: z.string().min(1).optional(),
  RUNNER: z
    .enum(RUNNERS, { error: `must be ${RUNNERS.slice(0, -1).join(', ')} or ${RUNNERS.at(-1)}` })
    .default('auto'),
  LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'], {
      error: 'must be debug, info, warn, error or silent',
    })
    .default('info'),
  EGRESS_ALLOW_ADDRESSES: z
    .string()
    .regex(/^[0-9a-fA-F.:,]*$/, { error: 'must be a comma-separated list of IP addresses' })
    .default(''),
  EGRESS_PROXY_URL: z
    .url({ protocol: /^http$/, error: 'must be an http:// URL: http://[user:password@]host:port' })
    .optional(),
  EGRESS_PORTS: z
    .string()
    .regex(/^[1-9]\d{0,4}(?:,[1-9]\d{0,4})*$/, { error: 'must be a comma-separated list of ports' })
    .default(EGRESS_PORTS_DEFAULT.join(',')),
  EGRESS_CA_FILE: z.string().min(1).optional(),
  ...retentionVariables,
  ...otelVariables,
})

export type Role = 'all' | 'server' | 'worker'

const Environment = Variables.superRefine(checkObjects)

const SECRET_NAMES = [
  'JWT_SECRET',
  'SECRETS_KEY',
  'DATABASE_URL',
  'WORKER_TOKEN',
  'REGISTRY_PASSWORD',
  'EGRESS_PROXY_URL',
  'REGISTRY_USERNAME',
  ...OBJECTS_SECRET_NAMES,
  ...OTEL_SECRET_NAMES,
]

export interface Config {
  host: string
  port: number
  publicUrl: string | undefined
  dataDir: string
  /** Below it no builds are claimed. */
  diskFloorBytes: number
  databaseUrl: string | undefined
  /** Which parts of the system this process is. */
  role: Role
  /** Of a worker on another machine. */
  serverUrl: string | undefined
  workerToken: string | undefined
  /** Builds this worker runs at once. */
  workerSlots: number
  /** Where a worker serves its metrics; undefined: nowhere. */
  metricsAt: { host: string; port: number } | undefined
  /** How long builds may go on after SIGTERM. */
  drainSeconds: number
  /** Of the source archives, the same for all processes; undefined: a folder in the data folder. */
  objects: ObjectsLocation | undefined
  jwtSecret: string | undefined
  secretsKey: Buffer | undefined
  /** Folder of secret files; undefined: none are kept there. */
  buildSecretsDir: string | undefined
  maxConcurrentBuilds: number
  /** undefined: as many as there are at all. */
  maxConcurrentBuildsPerTenant: number | undefined
  /** How long a build may wait for a worker. */
  queueTtlHours: number
  builderImage: string | undefined
  /** Of all builders, on one worker. */
  builderDisksMaxGb: number
  /** Of each build, in its pod. */
  buildDiskBytes: number
  buildTimeoutSeconds: number
  registryUrl: string | undefined
  registryUsername: string | undefined
  registryPassword: string | undefined
  /** Other registries that are read through ours. */
  mirrors: MirrorName[]
  /** What of them is read; of those that are not named here, all. */
  mirrorRepositories: string[]
  mirrorAuthFile: string | undefined
  /** `auto` never means bubblewrap: its boundary is weaker, so it must be asked for. */
  runner: (typeof RUNNERS)[number]
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** Addresses egress may reach although they are private: a stand-in mirror on the host, say. */
  egressAllowAddresses: string[]
  /** Of public addresses. */
  egressPorts: number[]
  /** The firm's own proxy, through which public addresses are reached. */
  egressProxyUrl: string | undefined
  /** PEM file of certificates that builds trust when they fetch sources and base images. */
  egressCaFile: string | undefined
  retention: RetentionSettings
  otlp: OtlpSettings
}

/** A setting that is wrong; the message has one line per variable: name, value, what it must be. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = Environment.safeParse(given)
  if (!parsed.success) throw new ConfigError(parsed.error.issues.map(describe(env)).join('\n'))
  const e = parsed.data
  return {
    host: e.HOST,
    port: e.PORT,
    publicUrl: e.PUBLIC_URL?.replace(/\/+$/, ''),
    dataDir: resolve(e.DATA_DIR ?? defaultDataDir(env)),
    diskFloorBytes: e.DISK_FLOOR_MB * 1024 * 1024,
    databaseUrl: e.DATABASE_URL,
    role: e.ROLE,
    serverUrl: e.SERVER_URL?.replace(/\/+$/, ''),
    workerToken: e.WORKER_TOKEN,
    workerSlots: e.WORKER_SLOTS ?? e.MAX_CONCURRENT_SOURCE_BUILDS,
    metricsAt:
      e.METRICS_PORT === undefined ? undefined : { host: e.METRICS_HOST, port: e.METRICS_PORT },
    drainSeconds: e.DRAIN_TIMEOUT,
    objects: objectsSettings(e),
    jwtSecret: e.JWT_SECRET,
    secretsKey: e.SECRETS_KEY,
    buildSecretsDir: e.BUILD_SECRETS_DIR && resolve(e.BUILD_SECRETS_DIR),
    maxConcurrentBuilds: e.MAX_CONCURRENT_SOURCE_BUILDS,
    maxConcurrentBuildsPerTenant: e.MAX_CONCURRENT_BUILDS_PER_TENANT,
    queueTtlHours: e.QUEUE_TTL_HOURS,
    builderImage: e.BUILDER_IMAGE,
    builderDisksMaxGb: e.BUILDER_DISKS_MAX_GB,
    buildDiskBytes: e.BUILD_DISK_GB * 1024 ** 3,
    buildTimeoutSeconds: e.BUILD_TIMEOUT,
    registryUrl: e.REGISTRY_URL?.replace(/\/+$/, ''),
    registryUsername: e.REGISTRY_USERNAME,
    registryPassword: e.REGISTRY_PASSWORD,
    mirrors: e.REGISTRY_MIRRORS,
    mirrorRepositories: e.REGISTRY_MIRROR_REPOSITORIES,
    mirrorAuthFile: e.REGISTRY_MIRROR_AUTH_FILE && resolve(e.REGISTRY_MIRROR_AUTH_FILE),
    runner: e.RUNNER,
    logLevel: e.LOG_LEVEL,
    egressAllowAddresses: e.EGRESS_ALLOW_ADDRESSES.split(',').filter((part) => part !== ''),
    egressProxyUrl: e.EGRESS_PROXY_URL,
    egressCaFile: e.EGRESS_CA_FILE && resolve(e.EGRESS_CA_FILE),
    egressPorts: e.EGRESS_PORTS.split(',').map(Number),
    retention: retentionSettings(e),
    otlp: otlpSettings(e),
  }
}

/** Reads the process's own environment and takes the secrets out of it. */
export function takeConfig(): Config {
  const config = readConfig(process.env)
  for (const name of SECRET_NAMES) delete process.env[name]
  return config
}

/** Puts a folder in front of PATH, so that a library which spawns `git-…` by name gets our launcher. */
export function prependPath(folder: string): void {
  process.env.PATH = `${folder}:${process.env.PATH ?? '/usr/bin:/bin'}`
}

// Root's home is closed to the unprivileged users that run git and the VMs, so root's default is /var/lib.
function defaultDataDir(env: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/var/lib/hypeman'
  return resolve(env.XDG_DATA_HOME ?? resolve(homedir(), '.local/share'), 'hypeman')
}

function describe(env: NodeJS.ProcessEnv) {
  return (issue: z.core.$ZodIssue): string => {
    const name = String(issue.path[0])
    const value = SECRET_NAMES.includes(name) ? '(secret)' : JSON.stringify(env[name])
    return `${name}=${value} is not valid: ${issue.message}`
  }
}
