// One attempt's way out: opened with the build's policy, closed with its pod. What happens there is stored,
// what was refused or failed is named in the build's log, and at the end stands what it came to.
import { isIPv6, type Socket } from 'node:net'
import type { ConnectionEvent, NetworkSummary } from '../builds/connections.ts'
import type { OpenEgress } from '../egress/builds.ts'
import type { EgressEvent } from '../egress/events.ts'
import { hostPort } from '../egress/host-name.ts'
import { EGRESS_REFUSALS_NAMED_MAX } from '../limits.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { Redactor } from '../secrets/redact.ts'
import { type ConnectionRows, createConnectionWriter } from './connection-writer.ts'
import { BuildFailure } from './failure.ts'
import type { LogWriter } from './log-writer.ts'
import { createNetworkReport } from './network-report.ts'
import type { Resources } from './pod-config.ts'

export interface NetworkOptions {
  build: Pick<ClaimedBuild, 'id' | 'attempt'>
  resources: Pick<Resources, 'networkMode' | 'allowedDomains'>
  openEgress: OpenEgress
  lease: ConnectionRows
  writer: LogWriter
  /** Takes secrets out of what is kept. */
  redactor: Pick<Redactor, 'text'>
}

export interface Network {
  /** Undefined: the build has no way out. */
  service: ((socket: Socket) => void) | undefined
  close(): void
  /**
   * After close(): everything is stored. `promise` is how many connections the agent says to have named here.
   * Rejects when the database is away, and may be tried again.
   */
  store(promise?: number): Promise<BuildFailure | undefined>
  summary(): NetworkSummary
  /** Why the latest connection that failed was not made. */
  trouble(): string | undefined
  /** The end of the build's log. */
  lines(): string[]
}

export function openNetwork(options: NetworkOptions): Network {
  const { build, resources, openEgress, lease, writer, redactor } = options
  const { networkMode, allowedDomains } = resources
  const report = createNetworkReport(resources)
  const { summary, lines } = report
  if (networkMode !== 'egress') {
    const store = async () => undefined
    return { service: undefined, close() {}, store, summary, trouble: () => undefined, lines }
  }
  const rows = createConnectionWriter({ lease, attempt: build.attempt })
  const nameTrouble = createTroubleLines((line) => void writer.write({ type: 'log', line }))
  let trouble: string | undefined
  const { handle, close, named } = openEgress({
    buildId: build.id,
    allowedDomains,
    onEvent(event) {
      const connection = toConnection(event, redactor.text)
      report.add(connection)
      trouble = connection.reason ?? trouble
      rows.add(connection)
      nameTrouble(event)
    },
  })
  return {
    service: handle,
    close,
    summary,
    trouble: () => trouble,
    lines,
    async store(promise = 0) {
      const { promised, stored } = await rows.close()
      // Without the lease nothing of this attempt counts any more.
      if (stored === undefined) return undefined
      const missing = [
        ...(stored < promised ? [`${promised} events were promised, ${stored} are stored`] : []),
        ...(named() < promise ? [`the agent named ${promise}, ${named()} came here`] : []),
      ].join('; ')
      if (missing === '') return undefined
      return new BuildFailure(
        'infra',
        `the connections of the build are not all recorded: ${missing}`,
      )
    },
  }
}

function toConnection(event: EgressEvent, redact: (text: string) => string): ConnectionEvent {
  const { address = '', origin, reason, sentBytes, receivedBytes } = event
  const known = isIPv6(address) ? 'AF_INET6' : 'AF_INET'
  return {
    process: redact(origin?.process ?? ''),
    protocol: 'IPPROTO_TCP',
    src_addr: origin?.address ?? '',
    src_port: origin?.port ?? 0,
    dst_addr: address,
    dst_port: event.port,
    family: address === '' ? 'AF_UNSPEC' : known,
    function: event.function,
    timestamp: event.at.toISOString(),
    host: redact(event.host),
    ...(reason === undefined ? {} : { reason: redact(reason) }),
    ...(sentBytes === undefined ? {} : { sent_bytes: sentBytes }),
    ...(receivedBytes === undefined ? {} : { received_bytes: receivedBytes }),
  }
}

/** Each once, and not endlessly many: a program that does not get through tries again. */
function createTroubleLines(write: (line: string) => void) {
  const said = new Set<string>()
  return (event: EgressEvent): void => {
    const line = troubleLine(event)
    if (line === undefined || said.has(line) || said.size > EGRESS_REFUSALS_NAMED_MAX) return
    said.add(line)
    const isLast = said.size > EGRESS_REFUSALS_NAMED_MAX
    write(isLast ? 'egress refused or failed: more of it, not named here' : line)
  }
}

/** A refusal names its target itself. */
function troubleLine({ function: what, host, port, reason }: EgressEvent): string | undefined {
  if (reason === undefined) return undefined
  if (what === 'egress_refused') return `egress refused: ${reason}`
  return what === 'egress_failed' ? `egress failed: ${hostPort(host, port)}: ${reason}` : undefined
}
