// What can become of a VM beside its end: it stands still, or the device that carries its channel ends or does.
import { setTimeout as sleep } from 'node:timers/promises'
import { AGENT_SILENCE_MAX_MS, BOOT_DEADLINE_MS } from '../../server/limits.ts'
import { describeProcess } from '../../server/runners/pod-record.ts'
import { signalAll } from './signals.ts'

/** A guest that stands still in its boot is found out when that is over, and then has to be ended. */
const FOUND_OUT_MS = BOOT_DEADLINE_MS + AGENT_SILENCE_MAX_MS
const LOOK_MS = 200

/** Stops a process for good: whoever has started it must find out and end it. Returns what was not so. */
export async function freezeUntilEnded(pid: number, what: string): Promise<string | undefined> {
  const before = await describeProcess(what, pid)
  if (!before) return undefined
  signalAll([pid], 'SIGSTOP')
  const deadline = performance.now() + FOUND_OUT_MS
  while (performance.now() < deadline) {
    const now = await describeProcess(what, pid)
    if (now?.startTicks !== before.startTicks) return undefined
    await sleep(LOOK_MS)
  }
  signalAll([pid], 'SIGKILL')
  return `${what} (${pid}) was stopped, and nobody ended it within ${FOUND_OUT_MS / 1000} s`
}
