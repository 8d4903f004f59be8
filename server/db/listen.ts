// LISTEN/NOTIFY as a hint: one connection per process, reconnecting. Whoever listens also polls, so a
// lost notification costs latency and nothing else. After a reconnect every handler is called once.
import pg from 'pg'
import type { Log } from '../telemetry/log.ts'

const RECONNECT_MS = 1_000
const CHANNELS = [
  'hypeman_queue',
  'hypeman_build',
  'hypeman_result',
  'hypeman_builders',
  'hypeman_retention',
  'hypeman_workers',
  'hypeman_migrated',
] as const

export type Channel = (typeof CHANNELS)[number]
export type Listener = ReturnType<typeof createListener>

export function createListener({ url, log }: { url: string; log: Log }) {
  const handlers = new Map<Channel, Set<(payload: string) => void>>()
  let client: pg.Client | undefined
  let timer: NodeJS.Timeout | undefined
  let stopped = true

  async function connect(): Promise<void> {
    const next = new pg.Client({ connectionString: url, keepAlive: true })
    next.on('notification', ({ channel, payload }) => {
      for (const handler of handlers.get(channel as Channel) ?? []) handler(payload ?? '')
    })
    next.on('error', (error) => lost(next, error))
    next.on('end', () => lost(next))
    client = next
    try {
      await next.connect()
      for (const channel of CHANNELS) await next.query(`listen ${channel}`)
      for (const set of handlers.values()) for (const handler of set) handler('')
    } catch (error) {
      lost(next, error as Error)
    }
  }

  function lost(which: pg.Client, error?: Error): void {
    if (client !== which) return
    client = undefined
    which.end().catch(() => {}) // it is broken already; nothing to learn from a failing goodbye
    if (stopped) return
    log.warn({ err: error?.message }, 'database notifications lost; reconnecting')
    timer = setTimeout(() => void connect(), RECONNECT_MS)
  }

  return {
    async start(): Promise<void> {
      stopped = false
      await connect()
    },
    async stop(): Promise<void> {
      stopped = true
      clearTimeout(timer)
      const last = client
      client = undefined
      await last?.end()
    },
    /** Returns the function that unsubscribes. */
    on(channel: Channel, handler: (payload: string) => void): () => void {
      const set = handlers.get(channel) ?? new Set()
      handlers.set(channel, set.add(handler))
      return () => set.delete(handler)
    },
  }
}
