// One push by a real git, and what its user knows afterwards.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Repo, RunningPush } from '../helpers/repo.ts'
import type { Pushed } from './audit.ts'

export type Outcome = Pushed['outcome']

export interface PushSpec {
  repo: Repo
  args: string[]
  /** The destination whose outcome counts. */
  branch: string
  /** Longer than everything that it waits for. */
  deadlineMs: number
  /** Called when the build is queued. */
  onQueued?: (buildId: string, push: RunningPush) => void
}

export interface PushReport {
  outcome: Outcome
  text: string
}

/** Throws when git does not end at all. */
export async function push(spec: PushSpec): Promise<PushReport> {
  const { repo, args, branch, deadlineMs, onQueued } = spec
  const running = repo.startPush('hypeman', ...args)
  if (onQueued) {
    running.line(/-----> Build [a-z0-9]+ queued/).then(
      ({ text }) => onQueued(/Build ([a-z0-9]+)/.exec(text)![1]!, running),
      () => {}, // ended without
    )
  }
  const over = new AbortController()
  const late = sleep(deadlineMs, 'late' as const, { signal: over.signal }).catch(() => 'over')
  const result = await Promise.race([running.done, late])
  over.abort()
  if (typeof result === 'string') {
    running.interrupt('SIGKILL')
    const lines = running.lines.map(({ text }) => text).join('\n')
    throw new Error(
      `git push ${args.join(' ')} did not end within ${deadlineMs / 1000} s:\n${lines}`,
    )
  }
  return { outcome: outcomeOf(result.exitCode, result.text, branch), text: result.text }
}

/** What git says of the branch counts; without a word of it nobody knows. */
function outcomeOf(exitCode: number | null, text: string, branch: string): Outcome {
  if (exitCode === 0) return 'accepted'
  const line = text.split('\n').find((each) => each.includes(`-> ${branch}`))
  if (line === undefined) return 'unknown'
  if (/^ ! \[(remote )?rejected\]/.test(line)) return 'refused'
  return /^ ! /.test(line) ? 'unknown' : 'accepted'
}
