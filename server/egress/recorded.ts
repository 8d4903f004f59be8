// The connections a build's way out has made, from their beginning to their end, as events.
import type { Socket } from 'node:net'
import type { EgressEvent, Origin } from './events.ts'
import type { Target } from './target.ts'

export interface Made extends Pick<Target, 'host' | 'port'> {
  socket: Socket
  address: string
  origin: Origin | undefined
}

export function createRecorded(onEvent: (event: EgressEvent) => void) {
  /** Each with the telling of its end. */
  const open = new Map<Socket, () => void>()
  return {
    add({ socket, host, port, address, origin }: Made): void {
      const same = { host, port, address, ...(origin ? { origin } : {}) }
      onEvent({ function: 'tcp_connect', ...same, at: new Date() })
      open.set(socket, () => {
        open.delete(socket)
        const { bytesWritten: sentBytes, bytesRead: receivedBytes } = socket
        onEvent({ function: 'tcp_close', ...same, sentBytes, receivedBytes, at: new Date() })
      })
      socket.once('close', () => open.get(socket)?.())
    },
    /** Ends them all; their ends are told when it returns. */
    close(): void {
      for (const [socket, tellEnd] of open) {
        socket.destroy()
        tellEnd()
      }
    },
  }
}
