// Waiting for what a test is not told of.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

const DEADLINE_MS = 90_000

/** Asks again and again until it is so; `what` is for the reader of a failure. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; performance.now() < end; await sleep(10)) {
    if (await isSo()) return
  }
  assert.fail(`not within ${DEADLINE_MS / 1000} s: ${what}`)
}
