// Every token of the house: one secret, one HKDF key per purpose, and in each token its own `typ`, `aud`,
// `exp` and `jti`; so a token of one kind is refused wherever another kind is expected (DESIGN §4.12).
import { hkdfSync, randomUUID } from 'node:crypto'
import { decodeProtectedHeader, errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import { AppError } from '../errors.ts'
import { API_TOKEN_TTL_SECONDS_DEFAULT } from '../limits.ts'
import type { Principal } from './principal.ts'
import {
  grantOf,
  RegistryClaims,
  type RegistryGrant,
  type RepoAccess,
  type WideScope,
} from './registry-claims.ts'
import { TenantName, tenantOf } from './tenant.ts'

const ISSUER = 'hypeman'
const TYP_PREFIX = 'hypeman-'
const KEY_BYTES = 32
const RESOURCES = [
  'build',
  'app',
  'builder',
  'registry',
  'report',
  'secret',
  'metrics',
  'retention',
  'worker',
]
const ACTIONS = ['read', 'write', 'delete', 'admin']

export const PERMISSIONS: readonly string[] = [
  '*',
  ...RESOURCES.flatMap((resource) => ACTIONS.map((action) => `${resource}:${action}`)),
]

export interface ApiTokenRequest {
  sub: string
  tenant?: string | undefined
  admin?: boolean | undefined
  permissions?: string[] | undefined
  ttlSeconds?: number | undefined
}

/** A user's name ends up in logs, commits and the terminal of others. */
export const Subject = z
  .string()
  .regex(/^[^\p{Cc}\p{Cf}]{1,256}$/u, { error: 'must be 1 to 256 printable characters' })

export interface RegistryTokenRequest {
  buildId: string
  tenant: string
  access: RepoAccess[]
  /** Hash of the build's lease token; the lease token itself never leaves the worker. */
  leaseHash: string
  ttlSeconds: number
}

export interface SessionTokenRequest {
  /** Whose it is: a person's, or what another registry token says. */
  holder: Pick<RegistryGrant, 'subject' | 'tenant' | 'buildId' | 'jti'>
  access: RepoAccess[]
  catalog?: WideScope | undefined
  ttlSeconds: number
}

export interface WideTokenRequest {
  sub: string
  /** Needed for `tenant:*`. */
  tenant: string | undefined
  scope: WideScope
  ttlSeconds: number
}

export interface WorkerTokenRequest {
  /** Whose it is, for people who read of it. */
  sub: string
  ttlSeconds: number
}

const WorkerClaims = z.object({ sub: Subject, jti: z.string() })
export type WorkerClaims = z.infer<typeof WorkerClaims>

const ApiClaims = z.object({
  sub: Subject,
  tenant: TenantName.optional(),
  admin: z.boolean().optional(),
  permissions: z.array(z.string()).optional(),
  jti: z.string(),
})

export type Tokens = ReturnType<typeof createTokens>

export interface TokensOptions {
  secret: string
  isRevoked?: (jti: string) => Promise<boolean>
}

export function createTokens({ secret, isRevoked = async () => false }: TokensOptions) {
  const keyFor = (purpose: string) =>
    new Uint8Array(hkdfSync('sha256', secret, '', `hypeman ${purpose} token`, KEY_BYTES))
  const kinds = {
    api: { key: keyFor('api'), typ: `${TYP_PREFIX}api+jwt`, aud: 'hypeman-api' },
    registry: {
      key: keyFor('registry'),
      typ: `${TYP_PREFIX}registry+jwt`,
      aud: 'hypeman-registry',
    },
    worker: { key: keyFor('worker'), typ: `${TYP_PREFIX}worker+jwt`, aud: 'hypeman-worker' },
  }
  type Kind = keyof typeof kinds

  function sign(
    kind: Kind,
    claims: Record<string, unknown>,
    sub: string,
    jti: string,
    ttl: number,
  ) {
    const { key, typ, aud } = kinds[kind]
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ })
      .setIssuer(ISSUER)
      .setAudience(aud)
      .setSubject(sub)
      .setJti(jti)
      .setIssuedAt()
      .setExpirationTime(`${ttl} s`)
      .sign(key)
  }

  async function verify<T>(kind: Kind, token: string, schema: z.ZodType<T>): Promise<T> {
    const { key, typ, aud } = kinds[kind]
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: ['HS256'],
        issuer: ISSUER,
        audience: aud,
        typ,
        requiredClaims: ['exp', 'sub', 'jti'],
      })
      const claims = schema.parse(payload)
      if (!(await isRevoked(String(payload.jti)))) return claims
    } catch (cause) {
      if (cause instanceof errors.JWTExpired) {
        throw new AppError('unauthorized', 'token expired', { cause })
      }
      if (!(cause instanceof errors.JOSEError) && !(cause instanceof z.ZodError)) throw cause
      throw new AppError('unauthorized', sayInvalid(token, typ), { cause })
    }
    throw new AppError('unauthorized', 'token revoked')
  }

  return {
    async mintApi(request: ApiTokenRequest): Promise<string> {
      const claims = {
        tenant: TenantName.parse(request.tenant ?? tenantOf(request.sub)),
        ...(request.admin ? { admin: true } : {}),
        ...(request.permissions ? { permissions: request.permissions } : {}),
      }
      const ttl = request.ttlSeconds ?? API_TOKEN_TTL_SECONDS_DEFAULT
      return sign('api', claims, Subject.parse(request.sub), randomUUID(), ttl)
    },

    /** Throws AppError `unauthorized`. */
    async verifyApi(token: string): Promise<Principal> {
      const claims = await verify('api', token, ApiClaims)
      return {
        user: claims.sub,
        tenant: claims.tenant ?? tenantOf(claims.sub),
        admin: claims.admin ?? false,
        permissions: claims.permissions ? new Set(claims.permissions) : undefined,
        jti: claims.jti,
      }
    },

    /** For one build, valid as long as its lease is. */
    mintRegistry(request: RegistryTokenRequest): Promise<string> {
      const { buildId, tenant, access, leaseHash, ttlSeconds } = request
      const claims = { build_id: buildId, tenant, repo_access: access }
      return sign('registry', claims, `builder-${buildId}`, leaseHash, ttlSeconds)
    },

    /** From the token endpoint; ends with the token it was made for, whose id it carries. */
    mintRegistrySession(request: SessionTokenRequest): Promise<string> {
      const { holder, access, catalog, ttlSeconds } = request
      const { subject, tenant, buildId, jti } = holder
      return sign(
        'registry',
        { tenant, build_id: buildId, repo_access: access, catalog },
        subject,
        jti,
        ttlSeconds,
      )
    },

    /** An operator's, for every repository or for those of one tenant. */
    mintRegistryWide({ sub, tenant, scope, ttlSeconds }: WideTokenRequest): Promise<string> {
      return sign('registry', { tenant, scope }, Subject.parse(sub), randomUUID(), ttlSeconds)
    },

    /** For a worker on another machine; it opens the worker's API and nothing else. */
    mintWorker({ sub, ttlSeconds }: WorkerTokenRequest): Promise<string> {
      return sign('worker', {}, Subject.parse(sub), randomUUID(), ttlSeconds)
    },

    /** Throws AppError `unauthorized`. */
    verifyWorker: (token: string): Promise<WorkerClaims> => verify('worker', token, WorkerClaims),

    /** Throws AppError `unauthorized`. */
    async verifyRegistry(token: string): Promise<RegistryGrant> {
      return grantOf(await verify('registry', token, RegistryClaims))
    },
  }
}

/** Says it when a token of ours is merely in the wrong place; only words hang on the unverified header. */
function sayInvalid(token: string, expected: string): string {
  try {
    const { typ } = decodeProtectedHeader(token)
    return typ?.startsWith(TYP_PREFIX) && typ !== expected ? 'invalid token type' : 'invalid token'
  } catch {
    return 'invalid token' // not even the form of one
  }
}
