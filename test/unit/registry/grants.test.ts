import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RegistryGrant } from '../../../server/auth/registry-claims.ts'
import {
  accessOfBuild,
  type Caller,
  createGrants,
  type RepoAction,
} from '../../../server/registry/grants.ts'
import { parseScopes } from '../../../server/registry/token-endpoint.ts'

const owners: Record<string, string> = { mine: 'acme', theirs: 'other' }
const grants = createGrants({
  tenantOfBuild: async (id) => owners[id],
  runsUnder: async (id, leaseHash) => id === 'mine' && leaseHash === 'lease',
})

function user(more: { admin?: boolean; permissions?: string[] } = {}): Caller {
  const permissions = more.permissions ? new Set(more.permissions) : undefined
  const { admin = false } = more
  return {
    kind: 'user',
    principal: { user: 'ada', tenant: 'acme', admin, permissions, jti: 'j' },
  }
}

function build(overrides: Partial<RegistryGrant> = {}): Caller {
  const grant: RegistryGrant = {
    subject: 'builder-mine',
    buildId: 'mine',
    tenant: 'acme',
    access: [{ repo: 'builds/mine', scope: 'push' }],
    wide: undefined,
    catalog: undefined,
    jti: 'lease',
    expiresAt: new Date(Date.now() + 60_000),
    ...overrides,
  }
  return { kind: 'grant', grant }
}

const session = (access: RegistryGrant['access']) =>
  build({ buildId: undefined, subject: 'ada', access })

const wide = (scope: RegistryGrant['wide'], tenant: string | undefined = 'acme') =>
  build({ buildId: undefined, subject: 'op', access: [], wide: scope, tenant })

const table: [string, Caller, string, RepoAction, boolean][] = [
  ['a user pulls a build of the own tenant', user(), 'builds/mine', 'pull', true],
  ['a user pulls no build of another tenant', user(), 'builds/theirs', 'pull', false],
  ['a user pulls no build that is not there', user(), 'builds/none', 'pull', false],
  ['a user pulls nothing below a build', user(), 'builds/mine/x', 'pull', false],
  ['a user pulls no area as a whole', user(), 'builds', 'pull', false],
  ['a user pulls an app of the own tenant', user(), 'apps/acme/web', 'pull', true],
  ['a user pulls no app of another tenant', user(), 'apps/other/web', 'pull', false],
  ['a user pulls no tenant as a whole', user(), 'apps/acme', 'pull', false],
  ['a user pulls base images', user(), 'library/debian', 'pull', true],
  ['the bare word library is no base image', user(), 'library', 'pull', false],
  ['a name that only begins like library is none', user(), 'library2/x', 'pull', false],
  ['a user pulls no cache', user(), 'cache/global/node', 'pull', false],
  ['a user pushes no base image', user(), 'library/debian', 'push', false],
  ['a user pushes no build, not even the own', user(), 'builds/mine', 'push', false],
  ['a user pulls the cache of the own tenant', user(), 'cache/acme/web', 'pull', true],
  ['a user pulls no cache of another tenant', user(), 'cache/other/web', 'pull', false],
  ['a user pushes no image of an app', user(), 'apps/acme/web', 'push', false],
  ['a user deletes images of an app of the own tenant', user(), 'apps/acme/web', 'delete', true],
  ['a user deletes no image of another tenant', user(), 'apps/other/web', 'delete', false],
  ['a user deletes no build’s image', user(), 'builds/mine', 'delete', false],
  ['a user deletes no base image', user(), 'library/debian', 'delete', false],
  [
    'registry:write without registry:delete deletes nothing',
    user({ permissions: ['registry:write', 'build:read'] }),
    'apps/acme/web',
    'delete',
    false,
  ],
  ['an operator pushes base images', user({ admin: true }), 'library/debian', 'push', true],
  ['an operator deletes base images', user({ admin: true }), 'library/debian', 'delete', true],
  ['an operator pushes no builds', user({ admin: true }), 'builds/mine', 'push', false],
  ['an operator pulls any tenant’s build', user({ admin: true }), 'builds/theirs', 'pull', true],
  [
    'an operator limited to reading pushes nothing',
    user({ admin: true, permissions: ['build:read'] }),
    'library/debian',
    'push',
    false,
  ],
  [
    'registry:write without admin pushes nothing',
    user({ permissions: ['registry:write'] }),
    'library/debian',
    'push',
    false,
  ],
  [
    'a user who may not read builds pulls none',
    user({ permissions: ['app:read'] }),
    'builds/mine',
    'pull',
    false,
  ],
  [
    'registry:read alone pulls',
    user({ permissions: ['registry:read'] }),
    'builds/mine',
    'pull',
    true,
  ],
  ['a build pushes its own repository', build(), 'builds/mine', 'push', true],
  ['push includes pull', build(), 'builds/mine', 'pull', true],
  ['a build deletes nothing', build(), 'builds/mine', 'delete', false],
  ['a build pulls base images', build(), 'library/debian', 'pull', true],
  ['a build pushes no base image', build(), 'library/debian', 'push', false],
  ['a build does not touch another build', build(), 'builds/theirs', 'pull', false],
  ['a grant is for the whole name', build(), 'builds/mine/more', 'push', false],
  ['a grant is for the whole name', build(), 'builds', 'pull', false],
  ['a build does not pull apps of its tenant', build(), 'apps/acme/web', 'pull', false],
  [
    'a pull grant does not push',
    build({ access: [{ repo: 'cache/global/k', scope: 'pull' }] }),
    'cache/global/k',
    'push',
    false,
  ],
  [
    'a build deletes nothing, whatever its token says',
    build({ access: [{ repo: 'builds/mine', scope: 'delete' }], wide: 'admin:*' }),
    'builds/mine',
    'delete',
    false,
  ],
  [
    'a token for two of three path segments is none for the third',
    build({ access: [{ repo: 'cache/global', scope: 'push' }] }),
    'cache/global/k',
    'pull',
    false,
  ],
  [
    'a token for three path segments is none for two of them',
    build({ access: [{ repo: 'cache/global/k', scope: 'push' }] }),
    'cache/global',
    'pull',
    false,
  ],
  ['admin:* pushes everywhere', wide('admin:*'), 'builds/theirs', 'push', true],
  ['admin:* deletes everywhere', wide('admin:*'), 'cache/other/x', 'delete', true],
  ['tenant:* pushes images of its tenant', wide('tenant:*'), 'apps/acme/web', 'push', true],
  ['tenant:* pushes the cache of its tenant', wide('tenant:*'), 'cache/acme/web', 'push', true],
  ['tenant:* pulls builds of its tenant', wide('tenant:*'), 'builds/mine', 'pull', true],
  ['tenant:* pulls base images', wide('tenant:*'), 'library/debian', 'pull', true],
  ['tenant:* pushes no build', wide('tenant:*'), 'builds/mine', 'push', false],
  ['tenant:* pushes no base image', wide('tenant:*'), 'library/debian', 'push', false],
  ['tenant:* deletes nothing', wide('tenant:*'), 'apps/acme/web', 'delete', false],
  ['tenant:* pulls nothing of another tenant', wide('tenant:*'), 'apps/other/web', 'pull', false],
  ['tenant:* pulls no other’s build', wide('tenant:*'), 'builds/theirs', 'pull', false],
  ['tenant:* is not the tenant’s bare name', wide('tenant:*'), 'apps/acme', 'push', false],
  [
    'tenant:* of no tenant pulls nothing',
    build({ buildId: undefined, tenant: undefined, wide: 'tenant:*' }),
    'apps/acme/web',
    'pull',
    false,
  ],
  ['a session says itself what it may pull', session([]), 'library/debian', 'pull', false],
  [
    'a session pulls what it was given',
    session([{ repo: 'library/debian', scope: 'pull' }]),
    'library/debian',
    'pull',
    true,
  ],
]

for (const [sentence, caller, repo, action, expected] of table) {
  test(`${sentence} (${action} ${repo})`, async () => {
    assert.equal(await grants.allows(caller, repo, action), expected)
  })
}

test('weakness 12: a build’s token is dead once its lease is over, a person’s is not', async () => {
  assert.equal(await grants.isLive(build()), true)
  assert.equal(await grants.isLive(build({ jti: 'old' })), false)
  assert.equal(await grants.isLive(build({ buildId: 'theirs' })), false)
  assert.equal(await grants.isLive(session([])), true)
  assert.equal(await grants.isLive(user()), true)
})

test('a build is minted its own repository, and that is enough to push there', async () => {
  const access = accessOfBuild({ id: 'mine' })
  assert.equal(await grants.allows(build({ access }), 'builds/mine', 'push'), true)
})

test('what is not granted is granted for reading, once', async () => {
  const asked = parseScopes(['repository:apps/acme/web:*', 'repository:apps/other/web:*'])
  assert.deepEqual(await grants.intersect(user(), asked), [
    { repo: 'apps/acme/web', scope: 'pull' },
    { repo: 'apps/acme/web', scope: 'delete' },
  ])
  assert.deepEqual(await grants.intersect(wide('tenant:*'), asked), [
    { repo: 'apps/acme/web', scope: 'push' },
    { repo: 'apps/acme/web', scope: 'pull' },
  ])
  assert.deepEqual(await grants.intersect(session([]), asked), [])
})

test('of what is asked for, only what is allowed is granted', async () => {
  const asked = parseScopes([
    'repository:builds/mine:pull,push repository:builds/theirs:pull',
    'repository:library/debian:pull',
  ])
  assert.deepEqual(await grants.intersect(user(), asked), [
    { repo: 'builds/mine', scope: 'pull' },
    { repo: 'library/debian', scope: 'pull' },
  ])
})

test('scopes that are none are left out, and there is an end to them', () => {
  const odd = ['', 'repository', 'registry:catalog:*', 'repository:../x:pull', 'repository:a:list']
  assert.deepEqual(parseScopes([...odd, 'repository:a:b:pull']), [])
  assert.equal(parseScopes(Array(1000).fill('repository:a:pull')).length, 50)
})
