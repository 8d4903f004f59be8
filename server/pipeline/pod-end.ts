// Why a pod ended before its result: from its exit and the tail of its console to a class and a sentence.
import type { PodExit } from '../runners/runner.ts'
import { BuildFailure } from './failure.ts'

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
