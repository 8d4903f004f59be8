// A process that is kept running, as a supervisor does it: whatever ends it, it is started again. What ends it
// without being asked to is noted.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Launched } from '../helpers/launched.ts'

const RESTART_MS = 500
const LAST_CHARS = 2_000

export interface KeptOptions {
  name: string
  launch(): Promise<Launched>
  /** Whether there is a reason outside of it that it did not start since then. */
  isExcused(sinceMs: number): boolean
  onSurprise(what: string): void
}

export interface Kept {
  name: string
  /** Of the process that runs; undefined while there is none. */
  pid(): number | undefined
  /** Everything that all of its processes have logged. */
  logged(): string
  signal(signal: NodeJS.Signals): void
  /** Ended that way, it comes back after so long. */
  down(signal: NodeJS.Signals, forMs: number): Promise<void>
  /** Resolves when it is ready. */
  up(): Promise<Launched>
  /** For good. */
  stop(): Promise<void>
}

export function keep({ name, launch, isExcused, onSurprise }: KeptOptions): Kept {
  const logs: string[] = []
  const stopping = new AbortController()
  let running: Launched | undefined
  let isAsked = false
  let pauseMs = RESTART_MS
  const waiting: ((launched: Launched) => void)[] = []

  async function supervise(): Promise<void> {
    while (!stopping.signal.aborted) {
      isAsked = false
      await runOnce()
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
      pauseMs = RESTART_MS
    }
  }

  async function runOnce(): Promise<void> {
    const sinceMs = Date.now()
    try {
      running = await launch()
    } catch (error) {
      const { message } = error as Error
      logs.push(`${message}\n`)
      if (!isAsked && !isExcused(sinceMs)) onSurprise(`${name} did not start: ${message}`)
      return
    }
    const { child, ended, logged } = running
    if (stopping.signal.aborted) child.kill('SIGTERM')
    for (const resolve of waiting.splice(0)) resolve(running)
    const { code, signal } = await ended
    running = undefined
    logs.push(logged())
    if (!isAsked) onSurprise(`${name} ended with ${code ?? signal}: ${logged().slice(-LAST_CHARS)}`)
  }

  const supervised = supervise()

  return {
    name,
    pid: () => running?.pid,
    logged: () => [...logs, running?.logged() ?? ''].join(''),
    signal: (signal) => void running?.child.kill(signal),
    async down(signal, forMs) {
      if (!running) return
      isAsked = true
      pauseMs = forMs
      const { child, ended } = running
      child.kill('SIGCONT')
      child.kill(signal)
      await ended
    },
    async up() {
      return running ?? new Promise((resolve) => waiting.push(resolve))
    },
    async stop() {
      stopping.abort()
      isAsked = true
      running?.child.kill('SIGCONT')
      running?.child.kill('SIGTERM')
      await supervised
    },
  }
}
