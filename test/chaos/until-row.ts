import { setTimeout as sleep } from 'node:timers/promises'

/** Asks again and again for things until one is as wanted. */
export async function untilRow<T>(
  ask: () => Promise<readonly T[]>,
  isWanted: (thing: T) => boolean,
): Promise<T> {
  for (;;) {
    const found = (await ask()).find(isWanted)
    if (found !== undefined) return found
    await sleep(20)
  }
}
