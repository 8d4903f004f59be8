// Where an agent without a port of its own comes to the host: a service among the others, whose callers wait
// here until the host wants to talk. One that has gone meanwhile is not handed out.
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { AGENT_DOOR_POLL_MS } from '../limits.ts'

export interface AgentDoor {
  readonly service: (socket: Socket) => void
  /** Resolves when an agent has really spoken, that is with its first byte waiting to be read. */
  next(signal: AbortSignal): Promise<Socket>
}

export function createAgentDoor(): AgentDoor {
  const waiting = new Set<Socket>()
  return {
    service(socket) {
      waiting.add(socket)
      socket.on('close', () => waiting.delete(socket))
      // Read as soon as there is something, kept for whoever takes it: `readable` is not `data`.
      socket.on('readable', () => {})
    },
    async next(signal) {
      for (;;) {
        signal.throwIfAborted()
        for (const socket of waiting) {
          if (socket.readableLength === 0 || socket.destroyed) continue
          waiting.delete(socket)
          socket.removeAllListeners('readable')
          return socket
        }
        await sleep(AGENT_DOOR_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
      }
    },
  }
}
