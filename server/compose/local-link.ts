// The seam between the roles when both are in this process.
import { createServer } from 'node:http'
import { createGrants } from '../registry/grants.ts'
import { createRegistryProxy } from '../registry/proxy.ts'
import { createReferrerStore } from '../registry/referrer-store.ts'
import { GUEST_REGISTRY_URL } from '../registry/relay.ts'
import type { ServerLink } from '../workers/link.ts'
import { createLocalGrant } from '../workers/local-grant.ts'
import type { ServerCore } from './server-core.ts'

export function localLink(core: ServerCore): ServerLink {
  const guestRegistry = createServer({ requestTimeout: 0 })
  const proxy = createRegistryProxy({
    upstream: core.upstream,
    tokens: core.tokens,
    grants: createGrants({ tenantOfBuild: core.store.tenantOf, runsUnder: core.store.runsUnder }),
    referrers: createReferrerStore({ db: core.db }),
    mirror: core.mirror,
    use: core.repositoryUse,
    requireRoom: core.requireRegistryRoom,
    baseUrl: () => GUEST_REGISTRY_URL,
    log: core.log.child({ mod: 'registry' }),
  })
  guestRegistry.on('request', (req, res) => void proxy(req, res))
  return {
    grant: createLocalGrant(core.desk),
    findImage: core.registryClient.findImage,
    registryService: (socket) => guestRegistry.emit('connection', socket),
    mirrors: { hosts: core.mirror?.hosts ?? [], follow: core.notes.follow },
    registryName: core.registryName,
    publicUrl: core.publicUrl,
    buildTimeoutSeconds: core.config.buildTimeoutSeconds,
  }
}
