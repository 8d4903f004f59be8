// The seam between the roles when the server is another process, reached by SERVER_URL.
import { REGISTRY_SERVER_WAIT_MS } from '../limits.ts'
import { createMirrorNotes } from '../mirror/notes.ts'
import { untilThere } from '../registry/away.ts'
import { createRegistryClient } from '../registry/client.ts'
import { UnexpectedReply } from '../registry/exchange.ts'
import { createRegistryRelay } from '../registry/relay.ts'
import type { ServerLink } from '../workers/link.ts'
import { createRemoteServer } from '../workers/remote-server.ts'
import type { Core } from './core.ts'
import { guestRegistry } from './guest-registry.ts'

export interface RemoteLinkOptions {
  url: string
  token: string
  worker: string
  onRefused(reason: string): void
}

/** Waits for the server. */
export async function remoteLink(
  { log }: Pick<Core, 'log'>,
  { url, token, worker, onRefused }: RemoteLinkOptions,
  signal: AbortSignal,
): Promise<ServerLink> {
  const notes = createMirrorNotes()
  const relay = createRegistryRelay({
    url,
    log: log.child({ mod: 'registry' }),
    onMirrored: notes.add,
  })
  const server = createRemoteServer({
    url,
    token,
    worker,
    onRefused,
    log: log.child({ mod: 'server' }),
  })
  const welcome = await server.hello(signal)
  return {
    grant: server.grant,
    findImage(repository, digest, { registryToken: password, signal }) {
      const upstream = { kind: 'url', url, username: 'worker', password } as const
      const find = () => createRegistryClient({ upstream }).findImage(repository, digest)
      const isAway = (error: unknown) => !(error instanceof UnexpectedReply && error.isRefusal)
      return untilThere(find, isAway, { waitMs: REGISTRY_SERVER_WAIT_MS, signal })
    },
    registryService: guestRegistry(relay),
    mirrors: { hosts: welcome.mirror_hosts, follow: notes.follow },
    registryName: () => welcome.registry_name,
    publicUrl: () => welcome.public_url,
    buildTimeoutSeconds: welcome.build_timeout_seconds,
  }
}
