// A runner whose pod is played by the test: real sockets to the host's services, and a real stream on which the
// test speaks as the agent.
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AgentMessage, type EventMessage, PROTOCOL_VERSION } from '../../agent/protocol.ts'
import type { Boundary, PodExit, PodSpec, Runner } from '../../server/runners/runner.ts'
import { listenForGuest } from '../../server/runners/services.ts'
import { removeFolder } from './folders.ts'

export interface Guest {
  spec: PodSpec
  /** Speaks as the agent; it has greeted already. */
  say(message: EventMessage): void
  /** Sends one line to a port of the host; what comes back before it hangs up, '' for nothing. */
  ask(port: number, line: string): Promise<string>
}

export interface PlayedRunner extends Runner {
  /** Pods that were started. */
  readonly started: number
}

export interface PlayedOptions {
  boundary?: Boundary
  /** Resolves when the pod ends by itself. */
  exited?: Promise<PodExit>
}

/** `console` is what the pod's serial console shows. */
export function playedRunner(
  play: (guest: Guest) => Promise<void>,
  console = '',
  { boundary = 'machine', exited = new Promise(() => {}) }: PlayedOptions = {},
): PlayedRunner {
  let started = 0
  return {
    name: 'played',
    boundary,
    releaseData: async () => ({}),
    get started() {
      return started
    },
    unusableReason: async () => null,
    async start(spec) {
      started += 1
      const dir = await mkdtemp(join(tmpdir(), 'hm-guest-'))
      const services = await listenForGuest(spec.services, (port) => join(dir, `${port}`), null)
      const agent = createServer()
      let isOver = false
      agent.listen(join(dir, 'agent'))
      await once(agent, 'listening')
      return {
        id: spec.id,
        detail: 'test',
        async connect() {
          if (isOver) throw new Error('the guest has ended')
          isOver = true
          const host = connect(join(dir, 'agent'))
          const [socket] = (await once(agent, 'connection')) as [Socket]
          socket.on('error', () => {}).resume()
          const write = (message: AgentMessage) => void socket.write(`${JSON.stringify(message)}\n`)
          const { job_id } = spec.config
          write({ type: 'hello', protocol: PROTOCOL_VERSION, job_id, boot_ms: 1 })
          let seq = 0
          const guest = {
            spec,
            say: (message: EventMessage) => {
              seq += 1
              write({ seq, ...message })
            },
            ask: (port: number, line: string) => askAt(join(dir, `${port}`), line),
          }
          void play(guest).finally(() => socket.end())
          return host
        },
        exited,
        console: () => console,
        async stop() {
          await services.close()
          agent.close()
          await removeFolder(dir)
        },
      }
    },
    sweep: async () => [],
    close: async () => {},
  }
}

async function askAt(path: string, line: string): Promise<string> {
  const socket = connect(path)
  let answer = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    answer += text
  })
  socket.on('error', () => {})
  socket.write(line)
  await once(socket, 'close')
  return answer
}
