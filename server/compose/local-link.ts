// The seam between the roles when both are in this process.
import { GUEST_REGISTRY_URL } from '../registry/relay.ts'
import type { ServerLink } from '../workers/link.ts'
import { createLocalGrant } from '../workers/local-grant.ts'
import { guestRegistry } from './guest-registry.ts'
import { registryProxy } from './registry-proxy.ts'
import type { ServerCore } from './server-core.ts'

export function localLink(core: ServerCore): ServerLink {
  return {
    grant: createLocalGrant(core.desk),
    findImage: core.registryClient.findImage,
    registryService: guestRegistry(registryProxy(core, () => GUEST_REGISTRY_URL)),
    mirrors: { hosts: core.mirror?.hosts ?? [], follow: core.notes.follow },
    registryName: core.registryName,
    publicUrl: core.publicUrl,
    buildTimeoutSeconds: core.config.buildTimeoutSeconds,
  }
}
