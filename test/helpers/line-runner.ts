// A runner whose pods are an agent's real channel over a line that can be cut, played by the test: the
// pipeline and its rows without a guest.

import type { TestContext } from 'node:test'
import type { Listener } from '../../server/db/listen.ts'
import type { Db } from '../../server/db/pool.ts'
import type { PipelineOptions } from '../../server/pipeline/pipeline.ts'
import type { PodExit, PodSpec, Runner } from '../../server/runners/runner.ts'
import { type AgentLine, agentLine } from './agent-channel.ts'
import { quietPipeline } from './pipeline.ts'

export type PlayAgent = (line: AgentLine, spec: PodSpec) => Promise<void>

export function givenPipeline(
  t: TestContext,
  { db, listener }: { db: Db; listener: Listener },
  play: PlayAgent,
  more: Partial<PipelineOptions> & { cuts?: readonly number[] } = {},
) {
  return quietPipeline({
    db,
    listener,
    runner: lineRunner(t, play, more.cuts ?? []),
    ...more,
  })
}

function lineRunner(t: TestContext, play: PlayAgent, cuts: readonly number[]): Runner {
  return {
    name: 'line',
    boundary: 'machine',
    releaseData: async () => ({}),
    unusableReason: async () => null,
    async start(spec) {
      const key = spec.config.channel_key
      const greeting = {
        type: 'hello',
        protocol: 1,
        job_id: spec.config.job_id,
        boot_ms: 1,
      } as const
      const line = await agentLine(cuts, { key, greeting })
      t.after(() => line.close())
      const played = play(line, spec)
      return {
        id: spec.id,
        detail: 'line',
        connect: line.dial,
        exited: new Promise<PodExit>(() => {}),
        console: () => '',
        stop: () => played,
      }
    },
    sweep: async () => [],
    close: async () => {},
  }
}
