// A whole server with two tenants: `acme` has an image and a running build, `other` has a running build as well.
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { readSecret } from '../../server/auth/secret.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import { hashLease } from '../../server/builds/store.ts'
import { pathsFor } from '../../server/paths.ts'
import { accessOfBuild } from '../../server/registry/grants.ts'
import { givenApp } from './apps.ts'
import { MANIFEST_TYPE } from './oci.ts'
import { fastestRunner } from './sandboxes.ts'
import { givenServer, type TestServer } from './server.ts'

/** The image of a build as its tenant sees it. */
interface Loot {
  repo: string
  digest: string
  layer: string
  config: string
}

interface Running {
  id: string
  /** Its registry token, as its pod has it. */
  token: string
  end(): Promise<void>
}

async function houseOf(server: TestServer) {
  const secret = await readSecret({
    configured: undefined,
    file: pathsFor(server.dataDir).jwtSecret,
  })
  const tokens = createTokens({ secret })
  const call = (path: string, token: string, init: RequestInit = {}) =>
    server.api(path, token, { ...init, headers: { accept: MANIFEST_TYPE, ...init.headers } })
  const statusOf = async (path: string, token: string, init?: RequestInit) =>
    (await call(path, token, init)).status
  return { server, secret, tokens, call, statusOf }
}

type House = Awaited<ReturnType<typeof houseOf>>

async function lootOf(house: House, buildId: string, token: string): Promise<Loot> {
  const repo = `builds/${buildId}`
  const { image_digest: digest = '' } = await house.server.build(buildId, token)
  const manifest = (await (await house.call(`/v2/${repo}/manifests/${digest}`, token)).json()) as {
    config: { digest: string }
    layers: { digest: string }[]
  }
  const layer = manifest.layers[0]?.digest ?? assert.fail('an image without layers')
  return { repo, digest, layer, config: manifest.config.digest }
}

/** What the pod of a running build holds: the lease is in the database only. */
async function tokenOf(house: House, id: string, tenant: string): Promise<string> {
  const found = await house.server.sql<{ lease_token: string }>(
    `select lease_token from builds where id = '${id}'`,
  )
  const leaseToken = found[0]?.lease_token ?? assert.fail(`build ${id} has no lease`)
  return house.tokens.mintRegistry({
    buildId: id,
    tenant,
    access: [...accessOfBuild({ id }), { repo: 'cache/global', scope: 'push' }],
    leaseHash: hashLease(leaseToken),
    ttlSeconds: 600,
  })
}

async function startBuild(t: TestContext, house: House, tenant: string): Promise<Running> {
  const { server } = house
  const token = await server.token(`${tenant}-slow`, { tenant })
  const repo = await givenApp(t, server, token, 'slow', 'slow')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/tick 1$/)
  const found = (await (await server.api('/builds?app=slow', token)).json()) as { id: string }[]
  const { id } = found[0] ?? assert.fail('no build')
  const end = async () => {
    await server.api(`/builds/${id}`, token, { method: 'DELETE' })
    await push.done
  }
  return { id, token: await tokenOf(house, id, tenant), end }
}

export async function givenTwoTenants(t: TestContext) {
  const settings = { RUNNER: await fastestRunner(), MAX_CONCURRENT_SOURCE_BUILDS: '3' }
  const house = await houseOf(await givenServer(t, settings))
  const { server, tokens } = house
  const acme = await server.token('ada', { tenant: 'acme' })
  const other = await server.token('eve', { tenant: 'other' })
  const hello = await givenApp(t, server, acme, 'hello', 'hello')
  const pushed = await hello.push('hypeman', 'main')
  const victim = pushed.buildId ?? assert.fail(pushed.text)
  const loot = await lootOf(house, victim, acme)
  const [ours, theirs] = await Promise.all([
    startBuild(t, house, 'acme'),
    startBuild(t, house, 'other'),
  ])
  const ofTenant = { sub: 'ci', tenant: 'other', scope: 'tenant:*', ttlSeconds: 600 } as const
  const strangers = [other, theirs.token, await tokens.mintRegistryWide(ofTenant)]
  return { ...house, acme, other, victim, loot, ours, theirs, strangers }
}

export type TwoTenants = Awaited<ReturnType<typeof givenTwoTenants>>
