// The guest's end of the way out. Unlike the registry's tunnel it is the agent's own, because only here can be
// seen which process a connection comes from: each is carried to the host behind one line that says so.
import { type ChildProcess, spawn } from 'node:child_process'
import { connect, createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { BASE_ENV, stopChild } from './children.ts'
import { originOf } from './connection-origin.ts'
import { environment } from './environment.ts'
import { EGRESS_DOOR_CONNECTIONS_MAX } from './limits.ts'
import type { Tunnels } from './tunnels.ts'

export interface EgressDoor extends Tunnels {
  /** Connections the host has answered, each of them named: it must have them all. */
  named(): number
}

export interface EgressDoorOptions {
  port: number
  /** Private folder, for the relay's socket. */
  folder: string
  /** Where the host serves; undefined: through a relay, because Node cannot open AF_VSOCK. */
  hostSocket?: string | undefined
  procFolder?: string
}

export async function openEgressDoor(options: EgressDoorOptions): Promise<EgressDoor> {
  const { port, folder, procFolder } = options
  const path = options.hostSocket ?? `${folder}/egress.sock`
  const relay = options.hostSocket ? undefined : startRelay(path, environment.hostAddress(port))
  let named = 0

  async function carry(guest: Socket): Promise<void> {
    guest.on('error', () => {}) // 'close' follows
    const origin = await originOf(guest, procFolder)
    const host = connect({ path, allowHalfOpen: true })
    const end = () => {
      guest.destroy()
      host.destroy()
    }
    host.write(`${JSON.stringify(origin)}\n`)
    host.once('readable', () => {
      if (host.readableLength > 0) named += 1
      pipeline(host, guest).then(() => {}, end)
    })
    pipeline(guest, host).then(() => {}, end)
  }

  const server = createServer({ allowHalfOpen: true }, (guest) => void carry(guest))
  server.maxConnections = EGRESS_DOOR_CONNECTIONS_MAX
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  server.unref()
  return {
    named: () => named,
    async stop() {
      server.close()
      if (relay) await stopChild(relay)
    },
  }
}

function startRelay(path: string, address: string): ChildProcess {
  const options = `fork,mode=600,backlog=64,max-children=${EGRESS_DOOR_CONNECTIONS_MAX}`
  const args = ['-b', '65536', `UNIX-LISTEN:${path},${options}`, address]
  const child = spawn('socat', args, { env: BASE_ENV, stdio: ['ignore', 'ignore', 'inherit'] })
  child.on('error', () => {}) // then nothing answers, and BuildKit says so
  return child
}
