// Work in rounds, never two at once: one every so often, and one at once when it is poked; a poke during a round
// asks for one more after it.
import { asError } from './errors.ts'

export interface RoundsOptions {
  work(): Promise<unknown>
  /** From the end of a round to the next. */
  intervalMs: number
  /** The next round comes all the same. */
  onError(error: Error): void
}

export function createRounds({ work, intervalMs, onError }: RoundsOptions) {
  let round: Promise<void> | undefined
  let again = false
  let isStopped = true
  let timer: NodeJS.Timeout | undefined

  function poke(): void {
    if (isStopped) return
    if (round) {
      again = true
      return
    }
    again = false
    clearTimeout(timer)
    round = work()
      .then(
        () => {},
        (error) => onError(asError(error)),
      )
      .finally(() => {
        round = undefined
        if (again) poke()
        else wait(intervalMs)
      })
  }

  function wait(ms: number): void {
    if (!isStopped) timer = setTimeout(poke, ms)
  }

  return {
    poke,

    /** Resolves when the first round has ended, or is to come later. */
    async start(firstDelayMs = 0): Promise<void> {
      isStopped = false
      if (firstDelayMs > 0) return wait(firstDelayMs)
      poke()
      await round
    },

    /** Resolves when the round that is under way has ended. */
    async stop(): Promise<void> {
      isStopped = true
      clearTimeout(timer)
      await round
    },
  }
}
