// What was started is stopped in reverse order, also when a later start fails half way.
import { asError } from './errors.ts'
import type { Log } from './telemetry/log.ts'

export type Releasers = ReturnType<typeof createReleasers>

export function createReleasers(log: Log) {
  const stack: { name: string; release: () => unknown }[] = []
  let done: Promise<void> | undefined

  async function releaseAll(): Promise<void> {
    for (let next = stack.pop(); next; next = stack.pop()) {
      try {
        await next.release()
      } catch (error) {
        log.error({ err: asError(error), part: next.name }, 'could not stop a part')
      }
    }
  }

  return {
    add(name: string, release: () => unknown): void {
      stack.push({ name, release })
    },
    /** Idempotent: a second call gets the same promise. */
    release(): Promise<void> {
      done ??= releaseAll()
      return done
    },
  }
}
