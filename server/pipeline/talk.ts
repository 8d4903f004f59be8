// The conversation with the agent of a pod, and what of it becomes state and lines of the build.
import type { BuildResult } from '../../agent/protocol.ts'
import { untilDatabase } from '../db/gone.ts'
import { asError } from '../errors.ts'
import { CACHE_EXPORT_DEADLINE_MS, CACHE_EXPORT_GRACE_MS } from '../limits.ts'
import type { Pod } from '../runners/runner.ts'
import { converse } from './conversation.ts'
import { podEnd } from './pod-end.ts'
import type { Run, RunsOn } from './run.ts'

const CACHE_WAIT_MS = CACHE_EXPORT_DEADLINE_MS + CACHE_EXPORT_GRACE_MS

export interface TalkOptions extends RunsOn {
  /** Told how long a guest took from its start to its agent's first word. */
  onBoot?: ((runner: string, ms: number) => void) | undefined
  signal: AbortSignal
}

export async function talk(
  current: Run,
  pod: Pod,
  { runner, noun, log, onBoot, signal }: TalkOptions,
): Promise<BuildResult> {
  const { build, lease, writer, channelKey, cache, fetched } = current
  const started = performance.now()
  let saidHello = false
  try {
    return await converse({
      buildId: build.id,
      key: channelKey,
      dial: (wait) => pod.connect(wait),
      signal,
      cacheExportMs: cache.export === undefined ? undefined : CACHE_WAIT_MS,
      handlers: {
        onHello: async () => {
          saidHello = true
          await untilDatabase(() => lease.markHello(), signal)
          const ms = performance.now() - started
          onBoot?.(runner.name, ms)
          const seconds = (ms / 1000).toFixed(1)
          const line = `Builder ${noun} ready in ${seconds} s (${runner.name}, ${pod.detail})`
          await writer.write({ type: 'log', line })
        },
        onPushing: async () => {
          await untilDatabase(() => lease.markPushing(), signal)
        },
        onEvent: (event) => {
          current.cacheReport.saw(event)
          return writer.write(event)
        },
        onSource: fetched.onSource,
        onReconnect: () => log.warn({ buildId: build.id }, 'channel to the agent was broken'),
      },
    })
  } catch (error) {
    if (signal.aborted) throw error
    const end = await podEnd(pod, asError(error), { noun, started, writer })
    // An agent that lied is not a machine that broke.
    const isBroken = end !== error && end.failureClass === 'infra'
    if (!saidHello || isBroken) end.mayRetry = true
    throw end
  }
}
