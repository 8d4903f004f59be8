// One way out for each build that has one, each with that build's policy; names are looked up for all of
// them together, a few at a time.
import type { Log } from '../telemetry/log.ts'
import type { EgressEvent } from './events.ts'
import { outboundProxy } from './outbound.ts'
import { createEgressProxy, type EgressProxy } from './proxy.ts'
import { createResolve, type Resolve } from './resolve.ts'

export interface BuildEgressOptions {
  allowAddresses: readonly string[]
  ports?: readonly number[]
  log: Log
  resolve?: Resolve
  /** The firm's own proxy; `http://[user:password@]host[:port]`. */
  outboundUrl?: string | undefined
  /** Told of every build's connections. */
  onEvent?: (event: EgressEvent) => void
}

export interface EgressPolicy {
  buildId: string
  /** Undefined: every public host. */
  allowedDomains: readonly string[] | undefined
  onEvent(event: EgressEvent): void
}

/** Opens a build's way out; whoever has opened it closes it. */
export type OpenEgress = (policy: EgressPolicy) => EgressProxy

export function createBuildEgress(options: BuildEgressOptions): OpenEgress {
  const { allowAddresses, ports, log, resolve = createResolve(), onEvent } = options
  const outbound = options.outboundUrl ? outboundProxy(options.outboundUrl) : undefined
  return ({ buildId, allowedDomains, onEvent: onBuildEvent }) =>
    createEgressProxy({
      allowedDomains,
      allowAddresses,
      ...(ports ? { ports } : {}),
      resolve,
      outbound,
      log: log.child({ buildId }),
      onEvent(event) {
        onEvent?.(event)
        onBuildEvent(event)
      },
    })
}
