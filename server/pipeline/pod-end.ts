// Why a pod ended before its result: from its exit and the tail of its console to a class and a sentence.
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import type { Pod, PodExit } from '../runners/runner.ts'
import { BuildFailure } from './failure.ts'
import type { LogWriter } from './log-writer.ts'

const POD_EXIT_WAIT_MS = 2_000
const CONSOLE_LINES_SHOWN = 20

const GUEST_OUT_OF_MEMORY = /Out of memory: Killed process|System is deadlocked on memory/
const GUEST_PANIC = /Kernel panic - not syncing: (.*)/

export interface PodEnd {
  /** `VM` or `sandbox`. */
  noun: string
  consoleTail: string
  afterMs: number
}

export function explainPodEnd(
  error: Error,
  exit: PodExit | undefined,
  { noun, consoleTail, afterMs }: PodEnd,
): BuildFailure {
  const after = `${(afterMs / 1000).toFixed(1)} s after its start`
  if (GUEST_OUT_OF_MEMORY.test(consoleTail)) {
    return new BuildFailure('oom', `the build ${noun} ran out of memory ${after}`, { cause: error })
  }
  const panic = GUEST_PANIC.exec(consoleTail)
  if (panic) {
    const message = `the build ${noun}'s kernel panicked ${after}: ${panic[1]?.trim()}`
    return new BuildFailure('infra', message, { cause: error })
  }
  if (exit) {
    const how = exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`
    const message = `the build ${noun} ended unexpectedly ${after} (${how})`
    return new BuildFailure('infra', message, { cause: error })
  }
  if (error instanceof BuildFailure) return error
  const message = `the build agent did not answer ${after}: ${error.message}`
  return new BuildFailure('infra', message, { cause: error })
}

/** Writes the end of the pod's console into the log and says why it ended. */
export async function podEnd(
  pod: Pick<Pod, 'exited' | 'console'>,
  error: Error,
  { noun, started, writer }: { noun: string; started: number; writer: Pick<LogWriter, 'write'> },
): Promise<BuildFailure> {
  // A VM that died breaks the channel first; a moment later its exit says more.
  const exit = await Promise.race([pod.exited, sleep(POD_EXIT_WAIT_MS, undefined)])
  // A machine's firmware begins with clearing the screen, which a reader's terminal would do as well.
  const consoleTail = stripVTControlCharacters(pod.console())
  for (const line of consoleTail.trimEnd().split('\n').slice(-CONSOLE_LINES_SHOWN)) {
    if (line.trim()) await writer.write({ type: 'log', line: `console: ${line.trimEnd()}` })
  }
  const afterMs = performance.now() - started
  return explainPodEnd(error, exit, { noun, consoleTail, afterMs })
}
