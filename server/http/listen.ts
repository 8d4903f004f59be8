// Makes a server listen, and says in the words of the configuration why it can't.
import type { Server } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { HTTP_STOP_GRACE_MS } from '../limits.ts'

export interface ListenWhere {
  host: string
  /** 0 takes a free one. */
  port: number
}

/** The variables that say where. */
interface ListenNames {
  host: string
  port: string
}

/** Resolves with the URL. */
export function listen(
  server: Server,
  { host, port }: ListenWhere,
  names: ListenNames = { host: 'HOST', port: 'PORT' },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return reject(error)
      const taken = `${names.port}=${port} on ${names.host}=${host} is taken by another program`
      const message = `${taken}. Set ${names.port} to a free one; 0 takes any.`
      reject(new Error(message, { cause: error }))
    }
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      const { port: taken } = server.address() as AddressInfo
      resolve(`http://${isIPv6(host) ? `[${host}]` : host}:${taken}`)
    })
  })
}

/** Takes no more requests, and cuts what is left after a grace. */
export async function stopListening(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const cut = setTimeout(() => server.closeAllConnections(), HTTP_STOP_GRACE_MS)
  await closed
  clearTimeout(cut)
}
