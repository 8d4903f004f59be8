// One at a time per key, in the order of asking: what is done for two pushes to one app keeps their order.

export type Serial = ReturnType<typeof createSerial>

export function createSerial() {
  const tails = new Map<string, Promise<unknown>>()
  return {
    run<T>(key: string, work: () => Promise<T>): Promise<T> {
      const before = tails.get(key) ?? Promise.resolve()
      const done = before.then(work, work)
      tails.set(key, done)
      const forget = () => {
        if (tails.get(key) === done) tails.delete(key)
      }
      done.then(forget, forget)
      return done
    },
    isBusy(key: string): boolean {
      return tails.has(key)
    },
  }
}
