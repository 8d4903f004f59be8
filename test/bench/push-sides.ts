// Where the push benches push to: our server, which queues the builds and runs none, and git http-backend.
import { remoteUrl } from '../helpers/repo.ts'
import { startBusyServer } from './busy-server.ts'
import { startHttpBackend } from './http-backend.ts'

export interface PushSide {
  name: string
  pid: number
  /** Address of a repository that nobody has pushed to. */
  remote(name: string): Promise<string>
  /** What a push says besides the remote. */
  options: readonly string[]
  /** Line by which its build is known to be queued. */
  queued: RegExp | undefined
  stop(): Promise<void>
}

export async function oursToPush(): Promise<PushSide> {
  const server = await startBusyServer()
  return {
    name: 'hypeman',
    pid: server.process.pid,
    remote: async (name) => remoteUrl(server.process.url, server.token, `/${name}.git`),
    options: ['-o', 'detach'],
    queued: /Build [a-z0-9]+ queued/,
    stop: server.stop,
  }
}

export async function bareToPush(): Promise<PushSide> {
  const backend = await startHttpBackend()
  return {
    name: 'git http-backend',
    pid: backend.pid,
    remote: (name) => backend.repository(`${name}.git`),
    options: [],
    queued: undefined,
    stop: backend.stop,
  }
}
