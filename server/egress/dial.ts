// Name → checked address → connection. The name is resolved once, here on the host, and the address that
// was checked is the one that is dialled, so a second answer of the name server changes nothing.
import { BlockList, connect, isIP, isIPv6, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { asError } from '../errors.ts'
import {
  EGRESS_ADDRESSES_MAX,
  EGRESS_CONNECT_DEADLINE_MS,
  EGRESS_PORTS_DEFAULT,
} from '../limits.ts'
import { isPublicAddress } from './addresses.ts'
import { hostPort } from './host-name.ts'
import { connectThrough, type OutboundProxy } from './outbound.ts'
import { EgressRefused, EgressTimeout } from './refusals.ts'
import type { Resolve } from './resolve.ts'

export interface DialOptions {
  /** Addresses that may be reached although they are not public, on any port. */
  allowAddresses: readonly string[]
  resolve: Resolve
  /** Of public addresses. */
  ports?: readonly number[]
  /** The host's own addresses: its services are not on the public side of its firewall for a build. */
  ownAddresses?: () => readonly string[]
  connectDeadlineMs?: number
  /** The firm's own way out, for all but `allowAddresses`. */
  outbound?: OutboundProxy | undefined
}

export interface Dialled {
  socket: Socket
  address: string
}

export type Dial = (host: string, port: number) => Promise<Dialled>

/** Rejects with EgressRefused, EgressTimeout or the error of the network. */
export function createDial(options: DialOptions): Dial {
  const { resolve, ownAddresses = hostAddresses, ports = EGRESS_PORTS_DEFAULT } = options
  const connectDeadlineMs = options.connectDeadlineMs ?? EGRESS_CONNECT_DEADLINE_MS
  const isExempt = isOneOf(options.allowAddresses)

  function targets(host: string, port: number, addresses: readonly string[]): string[] {
    const isOwn = isOneOf(ownAddresses())
    const isPublic = (address: string) => isPublicAddress(address) && !isOwn(address)
    const allowed = addresses.filter(
      (address) => isExempt(address) || (isPublic(address) && ports.includes(port)),
    )
    if (allowed.length > 0) return allowed.slice(0, EGRESS_ADDRESSES_MAX)
    if (addresses.some(isPublic)) {
      const which = `builds reach ${ports.join(', ')}`
      throw new EgressRefused(`${hostPort(host, port)}: port ${port} is not allowed; ${which}`)
    }
    throw new EgressRefused(
      `${hostPort(host, port)} is not a public address; builds reach public addresses only`,
    )
  }

  return async (host, port) => {
    const addresses = isIP(host) ? [host] : await resolve(host)
    const candidates = targets(host, port, addresses)
    // They share the deadline, so that one dead address leaves time for the next.
    const deadlineMs = connectDeadlineMs / candidates.length
    let last: unknown
    for (const address of candidates) {
      try {
        const through = isExempt(address) ? undefined : options.outbound
        const socket = await (through
          ? openThrough(through, address, port, deadlineMs)
          : open(address, port, deadlineMs))
        return { socket, address }
      } catch (error) {
        last = error
      }
    }
    throw asError(last)
  }
}

/** Compares addresses, not their spelling. */
function isOneOf(addresses: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  const family = (address: string) => (isIPv6(address) ? 'ipv6' : 'ipv4')
  for (const address of addresses) list.addAddress(address, family(address))
  return (address) => isIP(address) !== 0 && list.check(address, family(address))
}

function hostAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map(({ address }) => address)
}

async function openThrough(
  outbound: OutboundProxy,
  address: string,
  port: number,
  deadlineMs: number,
): Promise<Socket> {
  const late = new AbortController()
  const error = new EgressTimeout(`no connection to ${address} port ${port} in time`)
  const timer = setTimeout(() => late.abort(error), deadlineMs)
  try {
    return await connectThrough(outbound, address, port, late.signal)
  } finally {
    clearTimeout(timer)
  }
}

function open(address: string, port: number, deadlineMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true })
    const timer = setTimeout(
      () => socket.destroy(new EgressTimeout(`no connection to ${address} port ${port} in time`)),
      deadlineMs,
    )
    socket.on('error', reject) // stays: once connected, 'close' tells whoever uses it
    socket.once('close', () => clearTimeout(timer))
    socket.once('connect', () => {
      clearTimeout(timer)
      resolve(socket)
    })
  })
}
