// What a person sees while pushing: build events → lines, in the grammar of git-push systems (`----->` for
// what happens, seven spaces for detail). Pure, apart from remembering what was said.
import type { Step } from '../../agent/protocol.ts'
import type { Build, BuildEvent } from '../builds/schema.ts'
import { sanitizeLine } from './sanitize.ts'

const DETAIL = '       '
const TAIL_LINES = 20

export interface Links {
  /** Public URL of the server. */
  baseUrl: string
}

export type Transcript = ReturnType<typeof createTranscript>

export function createTranscript(buildId: string, { baseUrl }: Links) {
  const lastLines = new Map<number, string[]>()
  const open = new Map<number, Step>()
  let failed: Step | undefined

  function log(line: string, step: number | undefined): string[] {
    const clean = sanitizeLine(line)
    if (step !== undefined) {
      const tail = lastLines.get(step) ?? []
      tail.push(clean)
      if (tail.length > TAIL_LINES) tail.shift()
      lastLines.set(step, tail)
    }
    return [clean === '' ? '' : `${DETAIL}${clean}`]
  }

  function step(step: Step): string[] {
    const name = sanitizeLine(step.name)
    if (step.state === 'started') {
      open.set(step.n, step)
      return [`-----> ${name}`]
    }
    open.delete(step.n)
    if (step.state === 'cached') return [`-----> ${name} (CACHED)`]
    if (step.state === 'failed') failed = step
    const seconds = step.duration_ms === undefined ? '' : ` ${inSeconds(step.duration_ms)}`
    return [`${DETAIL}${step.state === 'failed' ? 'FAILED' : 'DONE'}${seconds} ${shortName(name)}`]
  }

  return {
    opening(): string[] {
      return [
        `-----> Build ${buildId} queued`,
        `${DETAIL}Ctrl-C detaches, the build goes on. Follow it again:`,
        `${DETAIL}curl -N -H "Authorization: Bearer $TOKEN" ${baseUrl}/builds/${buildId}/events?follow=true`,
      ]
    },

    position(position: number): string[] {
      return [`${DETAIL}queued, position ${position}`]
    },

    event(event: BuildEvent): string[] {
      switch (event.type) {
        case 'log':
          return log(event.line, event.step)
        case 'step':
          return step(event.step)
        case 'attempt':
          return [`-----> Attempt ${event.attempt}: ${sanitizeLine(event.reason)}`]
        case 'status':
          if (event.status === 'building') return ['-----> Starting builder VM']
          return event.status === 'pushing' ? ['-----> Pushing image'] : []
      }
    },

    /** Said when nothing else was for a while. */
    heartbeat(silentMs: number, position: number | undefined): string[] {
      const running = [...open.values()].at(-1)
      const what = running ? sanitizeLine(running.name) : 'the builder VM'
      if (position !== undefined) return [`${DETAIL}still queued, position ${position}`]
      return [`${DETAIL}… still running: ${what} (${inSeconds(silentMs)} without output)`]
    },

    ending(build: Build): string[] {
      if (build.status === 'ready') return readyLines(build)
      if (build.status === 'cancelled') return [`error: build ${buildId} was cancelled`]
      const tail = failed ? (lastLines.get(failed.n) ?? []) : []
      const again =
        tail.length > 0 ? [`${DETAIL}Last lines of ${shortName(failed?.name ?? '')}:`] : []
      const lines = tail.map((line) => `${DETAIL}  ${line}`)
      const error = sanitizeLine(build.error ?? 'unknown reason')
      return [
        ...again,
        ...lines,
        `error: build ${buildId} failed: ${error} (class ${build.failure_class})`,
        `hint: ${HINTS[build.failure_class ?? 'infra']}`,
        'hint: the branch has moved all the same; push a new commit to build again',
      ]
    },
  }

  function readyLines(build: Build): string[] {
    const { phases = {}, duration_ms: total = 0 } = build
    const parts = (['queue', 'vm', 'build', 'push'] as const).flatMap((name) => {
      const ms = phases[`${name}_ms`]
      return ms === undefined ? [] : [`${name} ${inSeconds(ms)}`]
    })
    return [
      `success: build ${buildId} ready in ${inSeconds(total)} (${parts.join(', ')})`,
      `${DETAIL}image  ${build.image_ref}`,
      `${DETAIL}digest ${build.image_digest}`,
      `${DETAIL}tag    builds/${buildId} -> ${build.commit?.slice(0, 10)}`,
    ]
  }
}

const HINTS = {
  build: 'the Dockerfile or what it runs has to be mended',
  source: 'the source could not be used as it is',
  timeout: 'raise policy.timeout_seconds of the app, or make the build faster',
  oom: 'raise policy.memory_mb of the app, or use less memory',
  disk: 'the build ran out of disk in its VM; make it write less',
  registry: 'the registry did not take the image; try again',
  infra: 'this was not the fault of the source; try again, and tell the operator if it stays',
  lost: 'the worker was lost; try again',
} as const

function inSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`
}

function shortName(name: string): string {
  return name.length > 60 ? `${name.slice(0, 60)}…` : name
}
