// The server role's API for workers on other machines: JSON over HTTP below /worker, with a worker's token. It is
// no part of the public API and not in its document.
import type Koa from 'koa'
import { tokenCandidates } from '../auth/authenticate.ts'
import type { Tokens } from '../auth/tokens.ts'
import { AppError, notFound } from '../errors.ts'
import { createReadJson } from '../http/json-body.ts'
import { validate } from '../http/validation.ts'
import { WORKER_REQUEST_BYTES_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import type { Desk } from './desk.ts'
import { GrantRequest, Hello, type Welcome, WORKER_API, WORKER_PROTOCOL } from './wire.ts'

export interface WorkerApiOptions {
  tokens: Pick<Tokens, 'verifyWorker'>
  desk: Desk
  welcome(): Welcome
  log: Log
}

const GRANTS = /^\/worker\/builds\/([a-z0-9]{1,64})\/grants$/

export function createWorkerApi({ tokens, desk, welcome, log }: WorkerApiOptions): Koa.Middleware {
  const readJson = createReadJson({ bytesMax: WORKER_REQUEST_BYTES_MAX })

  async function hello(ctx: Koa.Context): Promise<Welcome> {
    const { protocol, version, worker } = validate(Hello, await readJson(ctx), 'body')
    requireProtocol(protocol, version)
    log.info({ worker, version }, 'a worker said hello')
    return welcome()
  }

  async function grant(ctx: Koa.Context, buildId: string) {
    const asked = validate(GrantRequest, await readJson(ctx), 'body')
    const { protocol, worker, lease_hash: leaseHash } = asked
    requireProtocol(protocol)
    const given = await desk.grant({ buildId, worker, leaseHash })
    const { registryToken, secrets, secretsError } = given
    return {
      registry_token: registryToken,
      secrets: Object.fromEntries(
        [...secrets].map(([id, value]) => [id, value.toString('base64')]),
      ),
      ...(secretsError === undefined ? {} : { secrets_error: secretsError }),
    }
  }

  return async (ctx, next) => {
    if (!ctx.path.startsWith(`${WORKER_API}/`)) return next()
    const [, buildId] = GRANTS.exec(ctx.path) ?? []
    if (buildId === undefined && ctx.path !== `${WORKER_API}/hello`) return next()
    ctx.state.route = buildId === undefined ? `${WORKER_API}/hello` : `${WORKER_API}/grants`
    if (ctx.method !== 'POST') throw notFound('path')
    const [token] = tokenCandidates(ctx.get('authorization'))
    if (!token) throw new AppError('unauthorized', 'a worker token is required')
    await tokens.verifyWorker(token)
    ctx.set('Cache-Control', 'no-store')
    ctx.body = await (buildId === undefined ? hello(ctx) : grant(ctx, buildId))
  }
}

function requireProtocol(protocol: number, version = 'unknown'): void {
  if (protocol === WORKER_PROTOCOL) return
  throw new AppError(
    'version_skew',
    `the worker (version ${version}) speaks protocol ${protocol} and the server (version ${VERSION}) ${WORKER_PROTOCOL}: run the same version on both`,
  )
}
