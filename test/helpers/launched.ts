// One of our programs as a process of its own, as npm starts it, up to its ready line. Whoever launches it ends it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const READY_DEADLINE_MS = 120_000

const KINDS = {
  server: { verb: 'start', readyLine: /^hypeman ready (http:\S+)$/ },
  worker: { verb: 'worker', readyLine: /^hypeman worker ready (\S+)$/ },
}

export interface Launched {
  child: ChildProcess
  pid: number
  /** The address of a server, the name of a worker. */
  ready: string
  /** What it has logged on stderr so far. */
  logged(): string
  /** How it ended. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Rejects with what it said when it ends before it is ready, or says something else first. */
export async function launch(
  what: 'server' | 'worker',
  env: Record<string, string>,
): Promise<Launched> {
  const { verb, readyLine } = KINDS[what]
  const child = spawn(process.execPath, ['--import', 'tsx', 'server/cli.ts', verb], {
    cwd: ROOT,
    env: { ...process.env, LOG_LEVEL: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  const deadline = setTimeout(() => child.kill('SIGKILL'), READY_DEADLINE_MS)
  const line = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line').then(([text]) => String(text)),
    ended.then(({ code, signal }) =>
      Promise.reject(new Error(`the ${what} ended with ${code ?? signal}: ${log}`)),
    ),
  ]).finally(() => clearTimeout(deadline))
  const ready = readyLine.exec(line)?.[1]
  if (ready === undefined) {
    child.kill('SIGKILL')
    throw new Error(`not the ready line of a ${what}: ${line}\n${log}`)
  }
  return { child, pid: child.pid ?? 0, ready, logged: () => log, ended }
}
