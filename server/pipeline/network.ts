// One attempt's way out: opened with the build's policy, closed with its pod. What was refused is named in
// the build's log.
import type { Socket } from 'node:net'
import type { OpenEgress } from '../egress/builds.ts'
import type { EgressEvent } from '../egress/events.ts'
import { EGRESS_REFUSALS_NAMED_MAX } from '../limits.ts'
import type { LogWriter } from './log-writer.ts'
import type { Resources } from './pod-config.ts'

export interface NetworkOptions {
  buildId: string
  resources: Pick<Resources, 'networkMode' | 'allowedDomains'>
  openEgress: OpenEgress
  writer: LogWriter
}

export interface Network {
  /** Undefined: the build has no way out. */
  service: ((socket: Socket) => void) | undefined
  close(): void
}

export function openNetwork({ buildId, resources, openEgress, writer }: NetworkOptions): Network {
  if (resources.networkMode !== 'egress') return { service: undefined, close() {} }
  const named = createRefusalLines((line) => void writer.write({ type: 'log', line }))
  const { allowedDomains } = resources
  const { handle, close } = openEgress({ buildId, allowedDomains, onEvent: named })
  return { service: handle, close }
}

/** Each reason once, and not endlessly many: a program that is refused tries again. */
function createRefusalLines(write: (line: string) => void) {
  const said = new Set<string>()
  return ({ function: what, reason }: EgressEvent): void => {
    if (what !== 'egress_refused' || reason === undefined || said.has(reason)) return
    if (said.size > EGRESS_REFUSALS_NAMED_MAX) return
    said.add(reason)
    const isLast = said.size > EGRESS_REFUSALS_NAMED_MAX
    write(isLast ? 'egress refused: more of them, not named here' : `egress refused: ${reason}`)
  }
}
