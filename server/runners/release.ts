// Gives back what a pod owned: every part is tried whatever happened to the one before, and with something
// left the record stays, so that the next sweep knows of it.
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'
import { POD_KILL_DEADLINE_MS } from '../limits.ts'
import type { Child } from './child.ts'
import { type PodPaths, removePodFolders } from './pod-files.ts'

/** Throws what went wrong when everything has been tried. */
export async function releasePod(
  { id, paths }: { id: string; paths: PodPaths },
  parts: readonly (() => Promise<unknown> | undefined)[],
): Promise<void> {
  const errors: Error[] = []
  const attempt = async (work: () => Promise<unknown> | undefined) => {
    try {
      await work()
    } catch (error) {
      errors.push(asError(error))
    }
  }
  for (const part of parts) await attempt(part)
  if (errors.length === 0) await attempt(() => removePodFolders(paths))
  if (errors.length === 0) return
  const what = errors.map(({ message }) => message).join('; ')
  throw new AggregateError(errors, `pod ${id} left something behind: ${what}`)
}

/** SIGKILL at once: nothing in a pod is worth saving. */
export async function endChild(child: Child | undefined): Promise<void> {
  if (!child) return
  child.kill()
  const deadline = sleep(POD_KILL_DEADLINE_MS, 'late' as const, { ref: false })
  const first = await Promise.race([child.exited, deadline])
  if (first === 'late') throw new Error(`process ${child.pid} survived SIGKILL`)
}
