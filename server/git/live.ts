// Pushes that are under way, each for as long as its receive-pack process lives.
import type { ChildProcess } from 'node:child_process'
import type { App } from '../apps/schema.ts'
import type { Principal } from '../auth/principal.ts'
import type { BuildFollower } from './follow-build.ts'
import type { PushOptions } from './push-options.ts'

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
  const live = new Set<LivePush>()
  /** Those whose hook is yet to say what has moved. */
  const moving = new Set<LivePush>()
  const taking = new Set<LivePush>()
  return {
    add(process: ChildProcess, push: LivePush): void {
      if (process.pid === undefined) return
      live.add(push)
      moving.add(push)
      process.once('exit', () => {
        live.delete(push)
        moving.delete(push)
        push.over.abort()
      })
    },

    /** Records what a push has moved; from then on it is only followed, maybe for long. */
    async takingIn(push: LivePush, record: () => Promise<void>): Promise<void> {
      taking.add(push)
      moving.delete(push)
      await record().finally(() => taking.delete(push))
    },

    /** Whether a push of the app may have moved something that is not recorded yet. */
    hasApp(appId: string): boolean {
      return [...moving, ...taking].some(({ app }) => app.id === appId)
    },

    get count(): number {
      return live.size
    },
  }
}
