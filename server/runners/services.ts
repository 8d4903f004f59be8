// The ports a guest may dial on the host: one unix socket listener each, next to the vsock device's socket.
// A port without a listener does not exist for the guest.
import { chmod, chown } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { GUEST_CONNECTIONS_MAX } from '../limits.ts'
import type { UserIds } from '../setup/users.ts'

export interface Services {
  /** Ends listeners and connections. */
  close(): Promise<void>
}

export async function listenForGuest(
  services: ReadonlyMap<number, (socket: Socket) => void>,
  pathOf: (port: number) => string,
  user: UserIds | null,
): Promise<Services> {
  const servers: Server[] = []
  const sockets = new Set<Socket>()
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
  try {
    for (const [port, handle] of services) {
      const server = createServer((socket) => {
        sockets.add(socket)
        socket.on('close', () => sockets.delete(socket))
        socket.on('error', () => {}) // a guest may break off at any time
        handle(socket)
      })
      server.maxConnections = GUEST_CONNECTIONS_MAX
      servers.push(server)
      await listen(server, pathOf(port))
      await chmod(pathOf(port), 0o600)
      if (user) await chown(pathOf(port), user.uid, user.gid)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { close }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
