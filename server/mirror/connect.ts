// Connections to a mirrored registry, under the rules of builds' way out: public addresses only, through the
// firm's own proxy where there is one. An address that the operator has given himself may be private.
import type { ClientRequestArgs, IncomingMessage } from 'node:http'
import http from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { isPublicAddress } from '../egress/addresses.ts'
import { createDial } from '../egress/dial.ts'
import { type OutboundProxy, outboundProxy } from '../egress/outbound.ts'
import type { Resolve } from '../egress/resolve.ts'
import { asError } from '../errors.ts'
import { MIRROR_IDLE_MAX_MS } from '../limits.ts'

export interface ConnectOptions {
  resolve: Resolve
  allowAddresses: readonly string[]
  ports: readonly number[]
  /** `http://[user:password@]host[:port]` */
  outboundUrl: string | undefined
  /** Certificates that are trusted beside the system's. */
  trusted?: string[]
}

export interface Sent {
  method: 'GET' | 'HEAD'
  headers: Record<string, string>
  signal: AbortSignal
  /** The operator has named this very address. */
  isGiven: boolean
}

/** The head of the answer; what moves nothing for too long is ended. */
export type Send = (url: URL, sent: Sent) => Promise<IncomingMessage>

export function createSend(options: ConnectOptions): Send {
  const { resolve, trusted } = options
  const outbound = options.outboundUrl ? outboundProxy(options.outboundUrl) : undefined
  const isTls = (url: URL) => url.protocol === 'https:'

  async function open(url: URL, isGiven: boolean): Promise<Socket> {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    const port = Number(url.port || (isTls(url) ? 443 : 80))
    const addresses = isIP(host) ? [host] : await resolve(host)
    const { socket } = await dialOf(options, outbound, { addresses, port, isGiven })(host, port)
    if (!isTls(url)) return socket
    const name = isIP(host) ? {} : { servername: host }
    return connectTls({ socket, ...name, ...(trusted ? { ca: trusted } : {}) })
  }

  return async (url, { method, headers, signal, isGiven }) => {
    const socket = await open(url, isGiven)
    const request: ClientRequestArgs = { method, headers, signal, createConnection: () => socket }
    const sent = (isTls(url) ? https : http).request(url, request)
    sent.setTimeout(MIRROR_IDLE_MAX_MS, () =>
      sent.destroy(new Error(`nothing moved for ${MIRROR_IDLE_MAX_MS / 1000} s`)),
    )
    return new Promise<IncomingMessage>((settle, reject) => {
      sent.once('response', settle)
      // Stays: after the reply's head its reader meets the error as well.
      sent.on('error', (error) => {
        socket.destroy()
        reject(asError(error))
      })
      sent.end()
    })
  }
}

interface Target {
  addresses: string[]
  port: number
  isGiven: boolean
}

/** Addresses are looked up once, and those that were checked are dialled. */
function dialOf(
  { allowAddresses, ports }: ConnectOptions,
  outbound: OutboundProxy | undefined,
  { addresses, port, isGiven }: Target,
) {
  const own = isGiven ? addresses.filter((address) => !isPublicAddress(address)) : []
  return createDial({
    allowAddresses: [...allowAddresses, ...own],
    resolve: async () => addresses,
    ports: isGiven ? [...ports, port] : ports,
    outbound,
  })
}
