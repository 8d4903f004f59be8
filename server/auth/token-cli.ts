// `npm run -s token`: prints one JWT and nothing else; `token revoke` ends one before its time.
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { decodeJwt, errors } from 'jose'
import type { Config } from '../config.ts'
import { embeddedUrl } from '../db/embedded.ts'
import { createDb } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { API_TOKEN_TTL_SECONDS_MAX } from '../limits.ts'
import { pathsFor } from '../paths.ts'
import { createRevocation } from './revocation.ts'
import { readSecret } from './secret.ts'
import { TenantName } from './tenant.ts'
import { createTokens, PERMISSIONS, Subject, type Tokens } from './tokens.ts'

const USAGE = `usage: npm run -s token -- --sub USER [--tenant TENANT] [--admin] [--permissions build:read,app:read] [--ttl 24h]
       npm run -s token -- --registry (--admin | --tenant TENANT) [--sub USER] [--ttl 24h]
       npm run -s token -- --worker [--sub NAME] [--ttl 365d]
       npm run -s token -- revoke TOKEN|ID`

const TTL_DEFAULT = '24h'
/** It is written into the configuration of a machine; `token revoke` ends it. */
const WORKER_TTL_DEFAULT = '365d'

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** What was typed wrong; shown with the usage, exit code 2. */
class UsageError extends Error {
  override name = 'UsageError'
}

export async function runTokenCommand(args: string[], config: Config): Promise<void> {
  try {
    if (args[0] === 'revoke') await revoke(args.slice(1), config)
    else await mint(args, config)
  } catch (error) {
    const code = (error as { code?: string }).code ?? ''
    if (!(error instanceof UsageError) && !code.startsWith('ERR_PARSE_ARGS')) throw error
    process.stderr.write(`error: ${(error as Error).message}\n${USAGE}\n`)
    process.exitCode = 2
  }
}

const OPTIONS = {
  sub: { type: 'string' },
  tenant: { type: 'string' },
  admin: { type: 'boolean' },
  registry: { type: 'boolean' },
  worker: { type: 'boolean' },
  permissions: { type: 'string' },
  ttl: { type: 'string' },
} as const

async function mint(args: string[], config: Config): Promise<void> {
  const { values } = parseArgs({ args, options: OPTIONS })
  const make = makerOf(values)
  const file = pathsFor(config.dataDir).jwtSecret
  const isNew = config.jwtSecret === undefined && !existsSync(file)
  const secret = await readSecret({ configured: config.jwtSecret, file })
  if (isNew) process.stderr.write(newKeyNote(file))
  process.stdout.write(`${await make(createTokens({ secret }))}\n`)
}

/** Else a command without the DATA_DIR of the server prints tokens that are refused, and nobody knows why. */
function newKeyNote(file: string): string {
  return `note: there was no key yet, ${file} is new; only a server with this DATA_DIR takes the token\n`
}

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']
type Make = (tokens: Tokens) => Promise<string>

function makerOf(values: Values): Make {
  if (values.worker) return workerToken(values)
  return values.registry ? registryToken(values) : apiToken(values)
}

function apiToken(values: Values): Make {
  if (!values.sub) throw new UsageError('--sub is required: the user the token is for')
  check('--sub', values.sub, Subject)
  if (values.tenant !== undefined) check('--tenant', values.tenant, TenantName)
  const permissions =
    values.permissions === undefined ? undefined : parsePermissions(values.permissions)
  const ttlSeconds = parseTtl(values.ttl ?? TTL_DEFAULT)
  const { sub, tenant, admin } = values
  return (tokens) => tokens.mintApi({ sub, tenant, admin, permissions, ttlSeconds })
}

/** For pushing images: an operator's for every repository, or one for those of a tenant. */
function registryToken({ sub = 'operator', tenant, admin, permissions, ttl }: Values): Make {
  if (!admin === !tenant) {
    throw new UsageError('--registry needs --admin (every repository) or --tenant, and not both')
  }
  if (permissions !== undefined) {
    throw new UsageError('--registry takes no --permissions: what it may do is its scope')
  }
  check('--sub', sub, Subject)
  if (tenant !== undefined) check('--tenant', tenant, TenantName)
  const ttlSeconds = parseTtl(ttl ?? TTL_DEFAULT)
  const scope = admin ? 'admin:*' : 'tenant:*'
  return (tokens) => tokens.mintRegistryWide({ sub, tenant, scope, ttlSeconds })
}

/** For a worker on another machine. */
function workerToken({ sub = 'worker', ttl = WORKER_TTL_DEFAULT, ...others }: Values): Make {
  const [given] = Object.keys(others).filter((name) => name !== 'worker')
  if (given !== undefined) {
    throw new UsageError(`--worker takes no --${given}: its token is for a worker and nothing else`)
  }
  check('--sub', sub, Subject)
  const ttlSeconds = parseTtl(ttl)
  return (tokens) => tokens.mintWorker({ sub, ttlSeconds })
}

function check(name: string, value: string, schema: typeof Subject | typeof TenantName): void {
  const parsed = schema.safeParse(value)
  if (parsed.success) return
  throw new UsageError(`${name} ${JSON.stringify(value)} ${parsed.error.issues[0]?.message}`)
}

async function revoke([given, ...more]: string[], config: Config): Promise<void> {
  if (!given || more.length > 0) throw new UsageError('revoke takes one token, or its id (jti)')
  const { jti, expiresAt } = parseRevoked(given)
  const db = createDb(config.databaseUrl ?? embeddedUrl(pathsFor(config.dataDir).databaseSocket))
  try {
    await createRevocation({ db }).revoke(jti, expiresAt)
  } catch (cause) {
    const message = `could not revoke ${jti}: ${asError(cause).message}. The server must be running (or DATABASE_URL name its database).`
    throw new Error(message, { cause })
  } finally {
    await db.destroy()
  }
  process.stderr.write(`revoked ${jti}\n`)
}

/** A token is only read, not verified: one signed with yesterday's secret may be revoked as well. */
export function parseRevoked(given: string): { jti: string; expiresAt: Date | 'infinity' } {
  if (/^[0-9a-f-]{36}$/.test(given)) return { jti: given, expiresAt: 'infinity' }
  try {
    const { jti, exp } = decodeJwt(given)
    if (jti && exp) return { jti, expiresAt: new Date(exp * 1000) }
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error
  }
  throw new UsageError('revoke: that is neither a token of this server nor the id (jti) of one')
}

export function parsePermissions(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  for (const name of names) {
    if (!PERMISSIONS.includes(name)) {
      throw new UsageError(
        `--permissions: ${JSON.stringify(name)} is unknown; known: ${PERMISSIONS.join(' ')}`,
      )
    }
  }
  return names
}

/** `90s`, `30m`, `24h`, `7d` → seconds. */
export function parseTtl(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const seconds = Number(count) * (UNIT_SECONDS[unit] ?? 0)
  if (!seconds)
    throw new UsageError(`--ttl ${JSON.stringify(text)} is not like 90s, 30m, 24h or 7d`)
  if (seconds > API_TOKEN_TTL_SECONDS_MAX)
    throw new UsageError(
      `--ttl ${text} is too long: at most ${API_TOKEN_TTL_SECONDS_MAX / 86_400}d`,
    )
  return seconds
}
