// A real agent channel and a line to it that can be cut: the way from a server to an agent, without a guest.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Channel, type ChannelOptions, openChannel } from '../../agent/channel.ts'

export const CHANNEL_KEY = 'k'.repeat(43)

export interface AgentLine {
  channel: Channel
  cancels: string[]
  /** Dials through the line. */
  dial(signal: AbortSignal): Promise<Socket>
  /** Connections made so far. */
  dials(): number
  close(): void
}

/** `cuts`: how many bytes each connection lives, one after the other; connections after them live for good. */
export async function agentLine(
  cuts: readonly number[] = [],
  more: Partial<ChannelOptions> = {},
): Promise<AgentLine> {
  const folder = mkdtempSync(join(tmpdir(), 'line-'))
  const path = join(folder, 'agent.sock')
  const cancels: string[] = []
  const channel = await openChannel({
    path,
    greeting: { type: 'hello', protocol: 1, job_id: 'build00001', boot_ms: 1 },
    key: CHANNEL_KEY,
    onCancel: (reason) => cancels.push(reason),
    hostAbsenceMaxMs: 10_000,
    ...more,
  })
  let dials = 0
  const open = new Set<Socket>()
  const line = createServer((near) => {
    const far = connect(path)
    let left = cuts[dials] ?? Number.POSITIVE_INFINITY
    dials += 1
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
      from.on('data', (chunk: Buffer) => {
        to.write(chunk.subarray(0, left))
        left -= chunk.length
        if (left <= 0) from.destroy()
      })
    }
  })
  const linePath = join(folder, 'line.sock')
  line.listen(linePath)
  await once(line, 'listening')
  return {
    channel,
    cancels,
    dials: () => dials,
    async dial(signal) {
      signal.throwIfAborted()
      const socket = connect(linePath)
      socket.on('error', () => {})
      await once(socket, 'connect', { signal })
      return socket
    },
    close() {
      for (const socket of open) socket.destroy()
      line.close()
      rmSync(folder, { recursive: true })
    },
  }
}

export async function givenAgentLine(
  t: TestContext,
  cuts: readonly number[] = [],
  more: Partial<ChannelOptions> = {},
): Promise<AgentLine> {
  const line = await agentLine(cuts, more)
  t.after(() => line.close())
  return line
}
