// `npm run -s token`: prints one JWT and nothing else; `token revoke` ends one before its time.
import { parseArgs } from 'node:util'
import { decodeJwt } from 'jose'
import type { Config } from '../config.ts'
import { embeddedUrl } from '../db/embedded.ts'
import { createDb } from '../db/pool.ts'
import { pathsFor } from '../paths.ts'
import { createRevocation } from './revocation.ts'
import { readSecret } from './secret.ts'
import { isTenantName } from './tenant.ts'
import { createTokens, PERMISSIONS } from './tokens.ts'

const USAGE = `usage: npm run -s token -- --sub USER [--tenant TENANT] [--admin] [--permissions build:read,app:read] [--ttl 24h]
       npm run -s token -- revoke TOKEN`

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** What was typed wrong; shown with the usage, exit code 2. */
class UsageError extends Error {
  override name = 'UsageError'
}

export async function runTokenCommand(args: string[], config: Config): Promise<void> {
  try {
    if (args[0] === 'revoke') await revoke(args[1], config)
    else await mint(args, config)
  } catch (error) {
    const code = (error as { code?: string }).code ?? ''
    if (!(error instanceof UsageError) && !code.startsWith('ERR_PARSE_ARGS')) throw error
    process.stderr.write(`error: ${(error as Error).message}\n${USAGE}\n`)
    process.exitCode = 2
  }
}

async function mint(args: string[], config: Config): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      sub: { type: 'string' },
      tenant: { type: 'string' },
      admin: { type: 'boolean' },
      permissions: { type: 'string' },
      ttl: { type: 'string', default: '24h' },
    },
  })
  if (!values.sub) throw new UsageError('--sub is required: the user the token is for')
  if (values.tenant !== undefined && !isTenantName(values.tenant)) {
    throw new UsageError(`--tenant ${JSON.stringify(values.tenant)} is not a tenant name`)
  }
  const paths = pathsFor(config.dataDir)
  const secret = await readSecret({ configured: config.jwtSecret, file: paths.jwtSecret })
  const token = await createTokens({ secret }).mintApi({
    sub: values.sub,
    tenant: values.tenant,
    admin: values.admin,
    permissions:
      values.permissions === undefined ? undefined : parsePermissions(values.permissions),
    ttlSeconds: parseTtl(values.ttl),
  })
  process.stdout.write(`${token}\n`)
}

async function revoke(token: string | undefined, config: Config): Promise<void> {
  if (!token) throw new UsageError('revoke needs the token')
  const { jti, exp } = decodeJwt(token)
  if (!jti || !exp) throw new UsageError('that is not a token of this server')
  const db = createDb(config.databaseUrl ?? embeddedUrl(pathsFor(config.dataDir).databaseSocket))
  try {
    await createRevocation({ db }).revoke(jti, new Date(exp * 1000))
  } finally {
    await db.destroy()
  }
  process.stderr.write(`revoked ${jti}\n`)
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
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const seconds = Number(count) * (UNIT_SECONDS[unit] ?? 0)
  if (!seconds)
    throw new UsageError(`--ttl ${JSON.stringify(text)} is not like 90s, 30m, 24h or 7d`)
  return seconds
}
