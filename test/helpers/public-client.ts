// seed 000's own client, as published; what it sends and expects is not ours to choose.
import { Hypeman } from '@onkernel/hypeman'
import type { Build, BuildEvent } from '@onkernel/hypeman/resources/builds'

/** Without retries, so that an error is seen as it was answered. */
export function publicClient(url: string, token: string): Hypeman {
  return new Hypeman({ baseURL: url, apiKey: token, maxRetries: 0, logLevel: 'off' })
}

export async function followToEnd(client: Hypeman, id: string): Promise<BuildEvent[]> {
  const events: BuildEvent[] = []
  for await (const event of await client.builds.events(id, { follow: true })) events.push(event)
  return events
}

export const linesOf = (events: readonly BuildEvent[]): string[] =>
  events.flatMap((event) => (event.type === 'log' ? [event.content ?? ''] : []))

export const statusesOf = (events: readonly BuildEvent[]): Build['status'][] =>
  events.flatMap((event) => (event.type === 'status' && event.status ? [event.status] : []))
