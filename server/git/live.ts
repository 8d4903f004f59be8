// Pushes that are under way: known by their receive-pack process and repository together. A hook is believed
// only when its parent is such a process, once per kind of hook, and only while the process lives.
import type { ChildProcess } from 'node:child_process'
import type { App } from '../apps/schema.ts'
import type { Principal } from '../auth/principal.ts'
import type { BuildFollower } from './follow-build.ts'
import type { PushOptions } from './push-options.ts'

export type HookKind = 'pre-receive' | 'proc-receive' | 'post-receive'

/** A build that runs before its branch moves. */
export interface GatedBuild {
  buildId: string
  follower: BuildFollower
}

export interface LivePush {
  app: App
  principal: Principal
  repoPath: string
  /** Aborts when the client has gone: nobody reads the hook's lines any more. */
  clientGone: AbortSignal
  options: PushOptions
  /** All refs move, or none. */
  isAtomic: boolean
  /** By ref; those whose branch is about to move. */
  gated: Map<string, GatedBuild>
  /** Aborts when git's process has ended: no ref of the push will move any more. */
  over: AbortController
}

export type LivePushes = ReturnType<typeof createLivePushes>

export function createLivePushes() {
  const live = new Map<number, { push: LivePush; used: Set<HookKind> }>()
  return {
    add(process: ChildProcess, push: LivePush): void {
      const { pid } = process
      if (pid === undefined) return
      live.set(pid, { push, used: new Set() })
      // Not 'close': the number may belong to another process as soon as this one has been reaped.
      process.once('exit', () => {
        live.delete(pid)
        push.over.abort()
      })
    },

    /** The push a hook belongs to, or undefined when it belongs to none or has been asked for before. */
    take(kind: HookKind, parentPid: number, repoPath: string): LivePush | undefined {
      const entry = live.get(parentPid)
      if (!entry || entry.push.repoPath !== repoPath || entry.used.has(kind)) return undefined
      entry.used.add(kind)
      return entry.push
    },

    hasApp(appId: string): boolean {
      return [...live.values()].some(({ push }) => push.app.id === appId)
    },

    get count(): number {
      return live.size
    },
  }
}
