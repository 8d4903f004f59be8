// A child process that is started again when it ends by itself, for as long as it is wanted.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from './errors.ts'
import type { Log } from './telemetry/log.ts'

export interface Child {
  process: ChildProcess
  /** Resolves when it is gone or never came to be; says how. Never rejects. */
  ended: Promise<string>
}

export interface SuperviseOptions<T extends Child> {
  /** Begins a sentence of the log. */
  name: string
  log: Log
  /** Resolves when it is ready; rejects, leaving no process behind, when it does not come up. */
  launch(signal: AbortSignal): Promise<T>
  end(child: T): Promise<void>
  /** Before it is started again. */
  delayMs: number
  /** Tries that fail get rarer, up to this. */
  delayMaxMs: number
}

export interface Supervised {
  /** Of the process that runs now; undefined while there is none. */
  pid(): number | undefined
  /** Idempotent. */
  stop(): Promise<void>
}

/** Rejects when the first start fails; later ones are tried until stop(). */
export async function supervise<T extends Child>(
  options: SuperviseOptions<T>,
): Promise<Supervised> {
  const { name, log, launch, end, delayMs, delayMaxMs } = options
  const stopping = new AbortController()
  const { signal } = stopping
  const stopped = once(signal, 'abort').then(() => 'stopped')
  let current: T | undefined = await launch(signal)
  const supervised = watch()

  async function watch(): Promise<void> {
    let delay = delayMs
    while (!signal.aborted) {
      const how = current && (await Promise.race([current.ended, stopped]))
      if (signal.aborted) break
      if (how) log.error({ how }, `${name} ended; starting it again`)
      current = undefined
      await sleep(delay, undefined, { signal }).catch(() => {})
      if (signal.aborted) break
      try {
        current = await launch(signal)
        delay = delayMs
        log.info({ pid: current.process.pid }, `${name} is back`)
      } catch (error) {
        delay = Math.min(2 * delay, delayMaxMs)
        log.error({ err: asError(error).message }, `${name} does not start; will retry`)
      }
    }
    if (current) await end(current)
    current = undefined
  }

  return {
    pid: () => current?.process.pid,
    async stop() {
      stopping.abort()
      await supervised
    },
  }
}
