// Child processes of the agent: started with a fixed environment and ended with it, politely first.
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CHILD_STOP_GRACE_MS } from './limits.ts'

export const BASE_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
}

export function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
}

/** False when it did not end by itself. */
export async function stopChild(
  child: ChildProcess,
  graceMs = CHILD_STOP_GRACE_MS,
): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) return child.signalCode === null
  child.kill('SIGTERM')
  await Promise.race([exited(child), sleep(graceMs, undefined, { ref: false })])
  if (child.exitCode !== null || child.signalCode !== null) return child.signalCode !== 'SIGKILL'
  child.kill('SIGKILL')
  return false
}

/** How willing the kernel is to kill a process when memory ends: -1000 never, 1000 first. */
export function setOomScore(pid: number | 'self', score: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score))
  } catch {
    // Only root may lower it; without it a build that runs out of memory is named less well.
  }
}
