// Name → checked address → connection. The name is resolved once, here on the host, and the address that
// was checked is the one that is dialled, so a second answer of the name server changes nothing.
import { lookup } from 'node:dns/promises'
import { connect, isIP, type Socket } from 'node:net'
import { EGRESS_CONNECT_DEADLINE_MS } from '../limits.ts'
import { isPublicAddress } from './addresses.ts'

const PORTS_ALLOWED = new Set([80, 443])

/** Refused by policy: the sentence goes to the client. */
export class EgressRefused extends Error {
  override name = 'EgressRefused'
}

export type Resolve = (host: string) => Promise<string[]>

export interface DialOptions {
  /** Addresses that may be reached although they are not public, on any port. */
  allowAddresses: readonly string[]
  resolve?: Resolve
}

export type Dial = ReturnType<typeof createDial>

export function createDial({ allowAddresses, resolve = resolveAll }: DialOptions) {
  const isAllowed = (address: string, port: number) =>
    allowAddresses.includes(address) || (isPublicAddress(address) && PORTS_ALLOWED.has(port))

  /** Throws EgressRefused, or the error of the network. */
  return async (host: string, port: number): Promise<Socket> => {
    const addresses = isIP(host) ? [host] : await resolve(host)
    const target = addresses.find((address) => isAllowed(address, port))
    if (target) return open(target, port)
    if (addresses.some(isPublicAddress)) {
      throw new EgressRefused(`port ${port} is not allowed; builds reach ports 80 and 443`)
    }
    throw new EgressRefused(`${host} is not a public address; builds reach public addresses only`)
  }
}

async function resolveAll(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}

function open(address: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true })
    socket.setTimeout(EGRESS_CONNECT_DEADLINE_MS, () =>
      socket.destroy(new Error(`no connection within ${EGRESS_CONNECT_DEADLINE_MS / 1000} s`)),
    )
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', reject)
      resolve(socket)
    })
  })
}
