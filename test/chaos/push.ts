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
  /** Called when the build is queued. */
  onQueued?: (buildId: string, push: RunningPush) => void
}

export interface PushReport {
  outcome: Outcome
  text: string
}

/** Longer than everything that a push waits for. */
const PUSH_DEADLINE_MS = 10 * 60_000

/** Throws when git does not end at all. */
export async function push({ repo, args, branch, onQueued }: PushSpec): Promise<PushReport> {
  const running = repo.startPush('hypeman', ...args)
  if (onQueued) {
    running.line(/-----> Build [a-z0-9]+ queued/).then(
      ({ text }) => onQueued(/Build ([a-z0-9]+)/.exec(text)![1]!, running),
      () => {}, // ended without
    )
  }
  const over = new AbortController()
  const late = sleep(PUSH_DEADLINE_MS, 'late' as const, { signal: over.signal }).catch(() => 'over')
  const result = await Promise.race([running.done, late])
  over.abort()
  if (typeof result === 'string') {
    running.interrupt('SIGKILL')
    const lines = running.lines.map(({ text }) => text).join('\n')
    throw new Error(`git push ${args.join(' ')} did not end within 10 min:\n${lines}`)
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
