// The mirrors of this installation: by configuration, one set for the public proxy and that of the guests.
import { createResolve } from '../egress/resolve.ts'
import { createSend } from '../mirror/connect.ts'
import { createMirror, type Mirror } from '../mirror/mirror.ts'
import { createMirrorNotes, type MirrorNotes } from '../mirror/notes.ts'
import { readSources } from '../mirror/sources.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Boot } from './core.ts'

export interface StartedMirror {
  /** Undefined: none is configured. */
  mirror: Mirror | undefined
  notes: MirrorNotes
}

export async function startMirror(
  { config, paths, log, releasers }: Boot,
  { upstream, metrics }: { upstream: RegistryUpstream; metrics: Metrics },
): Promise<StartedMirror> {
  const notes = createMirrorNotes()
  const sources = await readSources({
    names: config.mirrors,
    patterns: config.mirrorRepositories,
    authFile: config.mirrorAuthFile,
  })
  if (sources.length === 0) return { mirror: undefined, notes }
  const mirror = await createMirror({
    upstream,
    sources,
    send: createSend({
      resolve: createResolve(),
      allowAddresses: config.egressAllowAddresses,
      ports: config.egressPorts,
      outboundUrl: config.egressProxyUrl,
    }),
    folder: paths.mirror,
    log: log.child({ mod: 'mirror' }),
    onEvent(event) {
      metrics.mirrored(event)
      notes.add(event)
    },
  })
  releasers.add('mirror', async () => mirror.stop())
  return { mirror, notes }
}
