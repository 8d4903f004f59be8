// The connections of a build as the API shows them: seed 003's NetworkConnection, and what our proxy knows
// beyond it.
import { z } from 'zod'
import { CONNECTION_EXAMPLE } from './examples.ts'

const port = z.int().min(0).max(65_535)

export const NetworkConnection = z
  .object({
    n: z.int().meta({ description: 'Number of the event in its build, from 1 on without gaps.' }),
    attempt: z.int(),
    process: z.string().meta({
      description: 'The program behind it, as the guest names it; empty when it names none.',
    }),
    protocol: z.string(),
    src_addr: z.string().meta({ description: 'Inside the guest; empty when it is not known.' }),
    src_port: port,
    dst_addr: z.string().meta({ description: 'What was dialled; empty when nothing was.' }),
    dst_port: port,
    family: z.enum(['AF_INET', 'AF_INET6', 'AF_UNSPEC']),
    function: z.enum(['tcp_connect', 'tcp_close', 'egress_refused', 'egress_failed']),
    timestamp: z.string(),
    host: z.string().meta({ description: 'The name or address the build asked for.' }),
    reason: z.string().optional().meta({ description: 'Why there is no connection.' }),
    sent_bytes: z.int().optional().meta({ description: 'By the build; with tcp_close.' }),
    received_bytes: z.int().optional(),
  })
  .meta({ id: 'NetworkConnection', examples: [CONNECTION_EXAMPLE] })
export type NetworkConnection = z.infer<typeof NetworkConnection>

/** Without what its place in the build says. */
export type ConnectionEvent = Omit<NetworkConnection, 'n' | 'attempt'>

export const BuildConnections = z
  .object({
    event_count: z.int().meta({ description: 'All there are, not only those of this page.' }),
    complete: z.boolean().meta({
      description: 'Nothing is missing; false while the build runs, or when its worker died.',
    }),
    network_connections: z.array(NetworkConnection),
    next_after: z.int().optional().meta({ description: '`after` of the next page.' }),
  })
  .meta({
    id: 'BuildConnections',
    examples: [{ event_count: 1, complete: true, network_connections: [CONNECTION_EXAMPLE] }],
  })
export type BuildConnections = z.infer<typeof BuildConnections>

/** In the provenance: what the latest attempt reached. */
export const NetworkSummary = z
  .object({
    mode: z.enum(['isolated', 'egress']),
    allowed_domains: z.array(z.string()).optional(),
    event_count: z.int(),
    connections: z.int(),
    refused: z.int(),
    failed: z.int(),
    hosts: z
      .array(z.object({ host: z.string(), port, connections: z.int() }))
      .meta({ description: 'Those reached, as far as they are not too many.' }),
  })
  .meta({ id: 'NetworkSummary' })
export type NetworkSummary = z.infer<typeof NetworkSummary>
