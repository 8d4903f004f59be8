// What an attempt's connections come to: the summary for its provenance, and seed 003's lines for its log.
import type { ConnectionEvent, NetworkSummary } from '../builds/connections.ts'
import { EGRESS_EVENTS_LOGGED_MAX, EGRESS_HOSTS_NAMED_MAX } from '../limits.ts'
import type { Resources } from './pod-config.ts'

const PREFIX = '[OBSERVABILITY]'

type Policy = Pick<Resources, 'networkMode' | 'allowedDomains'>

export function createNetworkReport({ networkMode, allowedDomains }: Policy) {
  const counts = { tcp_connect: 0, tcp_close: 0, egress_refused: 0, egress_failed: 0 }
  const hosts = new Map<string, { host: string; port: number; connections: number }>()
  const first: ConnectionEvent[] = []
  let total = 0

  function reached({ host, dst_port: port }: ConnectionEvent): void {
    const key = `${host}:${port}`
    const entry = hosts.get(key)
    if (entry) entry.connections += 1
    else if (hosts.size < EGRESS_HOSTS_NAMED_MAX) hosts.set(key, { host, port, connections: 1 })
  }

  return {
    add(event: ConnectionEvent): void {
      total += 1
      counts[event.function] += 1
      if (event.function === 'tcp_connect') reached(event)
      if (first.length < EGRESS_EVENTS_LOGGED_MAX) first.push(event)
    },

    summary: (): NetworkSummary => ({
      mode: networkMode,
      ...(allowedDomains ? { allowed_domains: allowedDomains } : {}),
      event_count: total,
      connections: counts.tcp_connect,
      refused: counts.egress_refused,
      failed: counts.egress_failed,
      hosts: [...hosts.values()],
    }),

    /** None when the build asked for no connection. */
    lines(): string[] {
      if (total === 0) return []
      const { tcp_connect: made, egress_refused: refused, egress_failed: failed } = counts
      const more = total - first.length
      const to = [...hosts.values()].map(
        ({ host, port, connections }) => `${host}:${port} ${connections}`,
      )
      return [
        `=== Build Observability Report: ${total} events, ${made} network connections ===`,
        ...first.map((event) => `network: ${describe(event)}`),
        ...first.map((event) => JSON.stringify(event)),
        ...(more > 0 ? [`${more} more events: GET /builds/{id}/connections`] : []),
        `summary: ${made} connections (${to.join(', ') || 'none'}), ${refused} refused, ${failed} failed`,
        '=== End of observability report ===',
      ].map((line) => `${PREFIX} ${line}`)
    },
  }
}

function describe(event: ConnectionEvent): string {
  const { function: what, process, src_addr: from, dst_addr: to, host, protocol } = event
  const where = `${from}:${event.src_port} -> ${to || host}:${event.dst_port}`
  return `${what} ${process || '-'} ${where} (${protocol})`
}
