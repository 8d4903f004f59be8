// Real `buildctl --progress=rawjson` streams, recorded with BuildKit v0.33.1 and fed to the agent's parser.
import { readFileSync } from 'node:fs'
import { createProgress } from '../../../agent/progress.ts'
import type { EventMessage, Step } from '../../../agent/protocol.ts'

export function recorded(name: string): string[] {
  const file = new URL(`../../fixtures/rawjson/${name}.ndjson`, import.meta.url)
  return readFileSync(file, 'utf8').trimEnd().split('\n')
}

/** Feeds a whole recording; what the agent would send, and what it learned. */
export function replay(lines: readonly string[]) {
  const messages: EventMessage[] = []
  const progress = createProgress((message) => messages.push(message))
  for (const line of lines) progress.feed(line)
  progress.end()
  return { messages, facts: progress.facts }
}

export function stepsOf(messages: readonly EventMessage[]): Step[] {
  return messages.flatMap((message) => (message.type === 'step' ? [message.step] : []))
}

export function linesOf(messages: readonly EventMessage[]): string[] {
  return messages.flatMap((message) => (message.type === 'log' ? [message.log] : []))
}
