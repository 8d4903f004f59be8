// The way to the outside where a firm has it only through its own proxy: a CONNECT to the address that was
// checked, never to a name, so that what was checked is what is reached.
import { connect, type Socket } from 'node:net'
import { OUTBOUND_REPLY_BYTES_MAX } from '../limits.ts'
import { hostPort } from './host-name.ts'

export interface OutboundProxy {
  host: string
  port: number
  /** `user:password`, when it wants one. */
  credentials?: string
}

/** `http://[user:password@]host[:port]` */
export function outboundProxy(url: string): OutboundProxy {
  const { hostname, port, username, password } = new URL(url)
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return {
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(port || 80),
    ...(credentials === ':' ? {} : { credentials }),
  }
}

/** Resolves when the way is open. */
export async function connectThrough(
  proxy: OutboundProxy,
  address: string,
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true })
  const onAbort = () => socket.destroy(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    socket.write(connectRequest(proxy, address, port))
    const status = await readReply(socket)
    if (!/^HTTP\/1\.[01] 2\d\d\b/.test(status)) {
      throw new Error(`the outbound proxy answered: ${status.slice(0, 100)}`)
    }
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function connectRequest({ credentials }: OutboundProxy, address: string, port: number): string {
  const authority = hostPort(address, port)
  const basic = credentials && Buffer.from(credentials).toString('base64')
  const lines = [`CONNECT ${authority} HTTP/1.1`, `host: ${authority}`]
  if (basic) lines.push(`proxy-authorization: Basic ${basic}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** The first line of its answer; what follows its head stays in the socket. */
function readReply(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0)
    const settle = (error: Error | undefined) => {
      socket.off('readable', onReadable).off('close', onClose)
      if (error) reject(error)
      else resolve(read.toString('latin1').split('\r\n')[0] ?? '')
    }
    const onClose = () => settle(new Error('the outbound proxy hung up'))
    const onReadable = () => {
      for (let chunk = socket.read(); chunk; chunk = socket.read()) {
        read = Buffer.concat([read, chunk])
        const end = read.indexOf('\r\n\r\n')
        if (end !== -1) {
          const rest = read.subarray(end + 4)
          settle(undefined)
          if (rest.length > 0) socket.unshift(rest)
          return
        }
        if (read.length > OUTBOUND_REPLY_BYTES_MAX) {
          settle(new Error('the outbound proxy answered too much'))
          return
        }
      }
    }
    socket
      .on('error', (error) => settle(error))
      .on('readable', onReadable)
      .on('close', onClose)
  })
}
