// One host process of a pod: started without rights, its output kept in the pod's ring, its end known once.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import type { ConsoleRing } from './console-ring.ts'
import type { Command } from './unprivileged.ts'

export interface ChildExit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Child {
  readonly pid: number
  /** The process itself has ended; others may still hold its output. Never rejects. */
  readonly ended: Promise<void>
  /** It has ended and said its last words. Never rejects. */
  readonly exited: Promise<ChildExit>
  /** The other end of its descriptor 3, when asked for. */
  readonly control: Duplex | undefined
  kill(): void
}

export interface ChildOptions {
  ring: ConsoleRing
  /** Open files it inherits, as descriptors 3, 4, …, or 4, 5, … when 3 is the control. */
  inherit?: readonly number[]
  /** Descriptor 3 is a line to the server, both ways. */
  control?: boolean
}

/** Resolves when the program was started; rejects when it could not be. */
export async function startChild(
  command: Command,
  { ring, inherit = [], control = false }: ChildOptions,
): Promise<Child> {
  const child: ChildProcess = spawn(command.file, command.args, {
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe', ...(control ? (['pipe'] as const) : []), ...inherit],
    // A session of its own: Ctrl-C at the server's terminal is the server's to handle.
    detached: true,
  })
  child.stdout?.on('data', ring.write)
  child.stderr?.on('data', ring.write)
  const exited = new Promise<ChildExit>((resolve) => {
    // `close` comes when its last words have been read as well.
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  // A signal that can't be sent is reported here; the exit is what counts.
  child.on('error', () => {})
  const line = control ? (child.stdio[3] as Duplex) : undefined
  line?.on('error', () => {}) // it ends with the child, whose exit tells more
  const kill = () => void child.kill('SIGKILL')
  return { pid: child.pid!, ended, exited, control: line, kill }
}
