// What a person sees while pushing: build events → lines, in the grammar of git-push systems (`----->` for
// what happens, seven spaces for detail). Pure, apart from remembering what was said.
import type { Step } from '../../agent/protocol.ts'
import type { Build, BuildEvent, BuildStatus } from '../builds/schema.ts'
import { SIDEBAND_TAIL_LINES_MAX } from '../limits.ts'
import { sanitizeLine } from './sanitize.ts'
import { endingLines } from './transcript-ending.ts'
import { DETAIL, duration, STEP } from './transcript-grammar.ts'

export interface Links {
  /** Public URL of the server. */
  baseUrl: string
}

export interface TranscriptOptions {
  buildId: string
  links: Links
  /** The branch that waits for it, when the push is gated. */
  gatedBranch?: string | undefined
  /** Nothing of the build is shown but that it is queued. */
  detached?: boolean
  /** Milliseconds; for how long something has been going on. */
  now?: () => number
}

interface OpenStep {
  name: string
  since: number
  /** Whether its name has been said. */
  said: boolean
  tail: string[]
}

/** The log has each connection twice, to read and as data; a person gets the first. */
const RAW_CONNECTION = '[OBSERVABILITY] {'

const WAITING: Partial<Record<BuildStatus, string>> = {
  queued: 'queued',
  building: 'starting the builder',
  pushing: 'pushing the image',
}

export type Transcript = ReturnType<typeof createTranscript>

export function createTranscript(options: TranscriptOptions) {
  const { buildId, links, gatedBranch, detached = false, now = () => performance.now() } = options
  const steps = new Map<number, OpenStep>()
  let waiting = { for: 'queued', since: now() }
  /** Whose output the lines above belong to. */
  let current: number | undefined
  let failedTail: { name: string; lines: readonly string[] } | undefined

  /** What was of an attempt that is over. */
  function forget(): void {
    steps.clear()
    current = undefined
    failedTail = undefined
  }

  function status(next: BuildStatus): string[] {
    waiting = { for: WAITING[next] ?? next, since: now() }
    current = undefined
    if (next === 'queued') forget()
    if (next === 'building') return [`${STEP}Starting the builder`]
    if (next === 'pushing') return [`${STEP}Pushing image`]
    return []
  }

  function log(text: string, n: number | undefined): string[] {
    if (n === undefined && text.startsWith(RAW_CONNECTION)) return []
    const line = sanitizeLine(text)
    const shown = line === '' ? '' : `${DETAIL}${line}`
    const step = n === undefined ? undefined : steps.get(n)
    if (n === undefined || !step) return [shown]
    step.tail.push(line)
    if (step.tail.length > SIDEBAND_TAIL_LINES_MAX) step.tail.shift()
    return [...headingOf(n, step), shown]
  }

  /** Steps run at the same time: when the output changes from one to another, its name is said again. */
  function headingOf(n: number, step: OpenStep): string[] {
    if (current === n) return []
    const again = step.said ? ' (continued)' : ''
    step.said = true
    current = n
    return [`${STEP}${step.name}${again}`]
  }

  function begin(n: number, name: string): string[] {
    waiting = { for: 'building', since: now() }
    const step: OpenStep = { name, since: now(), said: false, tail: [] }
    steps.set(n, step)
    // BuildKit's own preparations are short and many; they are named when they end.
    return name.startsWith('[internal]') ? [] : headingOf(n, step)
  }

  function end(n: number, event: Step): string[] {
    const name = sanitizeLine(event.name)
    const open = steps.get(n)
    steps.delete(n)
    waiting = { for: 'building', since: now() }
    if (event.state === 'failed') failedTail = { name, lines: open?.tail ?? [] }
    if (event.state === 'cached') return [`${STEP}${name} (CACHED)`]
    const word = event.state === 'failed' ? 'FAILED' : 'DONE'
    const time = event.duration_ms === undefined ? '' : ` ${duration(event.duration_ms)}`
    if (current !== n) return [`${STEP}${name} ${word}${time}`]
    current = undefined
    return [`${DETAIL}${word}${time}`]
  }

  return {
    opening(): string[] {
      const url = `${links.baseUrl}/builds/${buildId}`
      const auth = '-H "Authorization: Bearer $TOKEN"'
      let leaving = detached
        ? 'Detached: the build goes on.'
        : 'Ctrl-C detaches, the build goes on.'
      if (gatedBranch !== undefined) {
        leaving = `${gatedBranch} moves when it has passed. Ctrl-C cancels it, and ${gatedBranch} stays.`
      }
      return [
        `${STEP}Build ${buildId} queued`,
        `${DETAIL}${leaving}`,
        `${DETAIL}Follow again:  curl -N ${auth} '${url}/events?follow=true'`,
        `${DETAIL}Cancel:        curl -X DELETE ${auth} ${url}`,
      ]
    },

    /** `reason`: what it waits for, if not for its turn. */
    position(position: number, reason?: string): string[] {
      const lines = [`${DETAIL}queued, position ${position}`]
      if (reason !== undefined) lines.push(`${DETAIL}queued: ${reason}; it goes on by itself`)
      return lines
    },

    event(event: BuildEvent): string[] {
      switch (event.type) {
        case 'status':
          return status(event.status)
        case 'log':
          return log(event.line, event.step)
        case 'step':
          if (event.step.state !== 'started') return end(event.step.n, event.step)
          return begin(event.step.n, sanitizeLine(event.step.name))
        case 'attempt':
          forget()
          return [`${STEP}Attempt ${event.attempt}: ${sanitizeLine(event.reason)}`]
      }
    },

    /** Said when nothing else was for a while: what is going on, and for how long. */
    heartbeat(position?: number): string[] {
      const running = [...steps.values()].at(-1)
      const since = running?.since ?? waiting.since
      let what = waiting.for
      if (running) what = `still running: ${running.name}`
      else if (position !== undefined) what = `queued, position ${position}`
      return [`${DETAIL}… ${what} (${duration(now() - since)})`]
    },

    ending(build: Build): string[] {
      return endingLines(build, { failed: failedTail, links, gatedBranch })
    },
  }
}
