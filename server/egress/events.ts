// What the way out tells of each connection that a build asks for.

/** The first two as seed 003 names them. */
export type EgressFunction = 'tcp_connect' | 'tcp_close' | 'egress_refused' | 'egress_failed'

export interface EgressEvent {
  function: EgressFunction
  /** As the build asked for it; empty when it was no host. */
  host: string
  port: number
  /** The address that was dialled. */
  address?: string
  /** What the guest says of the process behind it. */
  origin?: Origin
  /** Why there is no connection. */
  reason?: string
  /** From and to the build; with tcp_close. */
  sentBytes?: number
  receivedBytes?: number
  at: Date
}

export interface Origin {
  process: string
  /** Of the connection inside the guest. */
  address: string
  port: number
}
