// A real registry behind the real proxy, listening on a free port.
import { mkdtemp } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { createTokens, type Tokens } from '../../server/auth/tokens.ts'
import type { UploadLimits } from '../../server/registry/carry-upload.ts'
import { type RegistryChild, startRegistry } from '../../server/registry/child.ts'
import { createGrants, type GrantsOptions } from '../../server/registry/grants.ts'
import type { OwnRegistry } from '../../server/registry/own/own-registry.ts'
import { createRegistryProxy, type MirrorService } from '../../server/registry/proxy.ts'
import { createReferrerStore } from '../../server/registry/referrer-store.ts'
import { createRepositoryUse, type RepositoryUse } from '../../server/registry/repository-use.ts'
import type { RegistryUpstream } from '../../server/registry/upstream.ts'
import { givenDatabase, silent } from './database.ts'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'

export const tokens = createTokens({ secret: 'a secret of at least thirty-two characters' })

/** Which tenant a build belongs to, by the first part of its id: `acme1` is acme's. */
const tenantOfBuild = async (id: string) => /^(acme|other)\d+$/.exec(id)?.[1]

export interface TestRegistry {
  dir: string
  child: RegistryChild
  upstream: OwnRegistry
}

/** `dataDir`: a folder of the test's own, on a file system that it has made, say. */
export async function givenRegistry(
  t: TestContext,
  { dataDir }: { dataDir?: string } = {},
): Promise<TestRegistry> {
  const parts = await testParts()
  const dir = await mkdtemp(join(tmpdir(), 'hm-reg-'))
  t.after(() => removeFolder(dir))
  const child = await startRegistry({
    binary: parts.registry,
    setpriv: parts.setpriv,
    dataDir: dataDir ?? join(dir, 'data'),
    runDir: join(dir, 'run'),
    log: silent,
  })
  t.after(() => child.stop())
  return { dir, child, upstream: child.upstream }
}

export interface TestProxy {
  url: string
  /** `127.0.0.1:port` */
  host: string
}

export async function givenProxy(
  t: TestContext,
  upstream: RegistryUpstream,
  overrides: {
    tokens?: Tokens
    runsUnder?: GrantsOptions['runsUnder']
    tenantOfBuild?: GrantsOptions['tenantOfBuild']
    mirror?: MirrorService
    use?: RepositoryUse
    databaseWaitMs?: number
    requireRoom?: () => Promise<void>
    uploadLimits?: Partial<UploadLimits>
  } = {},
): Promise<TestProxy> {
  const { db } = await givenDatabase(t)
  const proxy = createRegistryProxy({
    upstream,
    tokens: overrides.tokens ?? tokens,
    grants: createGrants({
      tenantOfBuild: overrides.tenantOfBuild ?? tenantOfBuild,
      runsUnder: overrides.runsUnder ?? (async () => true),
    }),
    referrers: createReferrerStore({ db }),
    mirror: overrides.mirror,
    use: overrides.use ?? createRepositoryUse({ db, log: silent }),
    requireRoom: overrides.requireRoom,
    baseUrl: () => proxyUrl,
    log: silent,
    ...(overrides.uploadLimits ? { uploadLimits: overrides.uploadLimits } : {}),
    ...(overrides.databaseWaitMs === undefined ? {} : { databaseWaitMs: overrides.databaseWaitMs }),
  })
  const server = http.createServer({ requestTimeout: 0 }, (req, res) => void proxy(req, res))
  const proxyUrl = await listen(t, server)
  return { url: proxyUrl, host: new URL(proxyUrl).host }
}

/** Starts it on a free port and ends it, with its connections, after the test. */
export async function listen(t: TestContext, server: http.Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
export const operator = () => tokens.mintApi({ sub: 'op', tenant: 'ops', admin: true })
/** What `npm run -s token -- --registry --admin` prints. */
export const registryAdmin = () =>
  tokens.mintRegistryWide({ sub: 'op', tenant: undefined, scope: 'admin:*', ttlSeconds: 600 })
export const member = (tenant = 'acme') => tokens.mintApi({ sub: `${tenant}-ada`, tenant })

export function buildToken(id = 'acme1'): Promise<string> {
  return tokens.mintRegistry({
    buildId: id,
    tenant: 'acme',
    access: [{ repo: `builds/${id}`, scope: 'push' }],
    leaseHash: `lease-of-${id}`,
    ttlSeconds: 600,
  })
}
