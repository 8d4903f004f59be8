// The guest's ways out: loopback ports that socat carries to the host over vsock (Node cannot open
// AF_VSOCK). There is no network card, so what has no tunnel here does not exist.
import { type ChildProcess, spawn } from 'node:child_process'
import { BASE_ENV, stopChild } from './children.ts'
import { hostAddress } from './host.ts'

const BLOCK_BYTES = 64 * 1024
const CONNECTIONS_MAX = 128

export interface Tunnels {
  stop(): Promise<void>
}

export function openTunnels(ports: readonly number[]): Tunnels {
  const children: ChildProcess[] = ports.map((port) =>
    spawn('socat', tunnelArgs(port), { env: BASE_ENV, stdio: ['ignore', 'ignore', 'inherit'] }),
  )
  // Without socat BuildKit's own "connection refused" says which port is missing.
  for (const child of children) child.on('error', () => {})
  return {
    async stop(): Promise<void> {
      await Promise.all(children.map(stopChild))
    },
  }
}

export function tunnelArgs(port: number): string[] {
  const options = `bind=127.0.0.1,fork,reuseaddr,backlog=64,max-children=${CONNECTIONS_MAX}`
  return ['-b', String(BLOCK_BYTES), `TCP-LISTEN:${port},${options}`, hostAddress(port)]
}
