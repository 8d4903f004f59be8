// The registry of this server as its clients may use it: people and workers by its public URL, guests by theirs.
import { createGrants } from '../registry/grants.ts'
import { createRegistryProxy, type RegistryProxy } from '../registry/proxy.ts'
import { createReferrerStore } from '../registry/referrer-store.ts'
import type { ServerCore } from './server-core.ts'

export function registryProxy(core: ServerCore, baseUrl: () => string): RegistryProxy {
  return createRegistryProxy({
    upstream: core.upstream,
    tokens: core.tokens,
    grants: createGrants({ tenantOfBuild: core.store.tenantOf, runsUnder: core.store.runsUnder }),
    referrers: createReferrerStore({ db: core.db }),
    mirror: core.mirror,
    use: core.repositoryUse,
    requireRoom: core.requireRegistryRoom,
    baseUrl,
    log: core.log.child({ mod: 'registry' }),
  })
}
