// From BuildKit's event stream to the agent's messages: numbered steps, whole log lines, the moment the push
// begins. BuildKit may announce, restart and complete a vertex several times; a reader sees each step start
// once and end once.
import { type CacheImport, cacheImportOf, isCacheImport } from './cache.ts'
import { createFacts, type Facts } from './facts.ts'
import { ERROR_CHARS_MAX, PLAIN_LINES_MAX, STEP_NAME_CHARS_MAX, STEP_SETTLE_MS } from './limits.ts'
import { createOutputLines, type OutputLines } from './output-lines.ts'
import type { EventMessage, Step } from './protocol.ts'
import {
  parseRawLine,
  type RawLog,
  type RawStatus,
  type RawVertex,
  type RawWarning,
} from './rawjson.ts'

export interface Progress {
  /** One line of buildctl's stderr. */
  feed(line: string): void
  /** buildctl has ended: sends what was held back. */
  end(): void
  /** What is known about the build so far, for its result. */
  readonly facts: Facts
  /** Caches that were asked for, by repository. */
  readonly cacheImports: ReadonlyMap<string, CacheImport>
}

interface KnownStep {
  n: number
  started: string
  outputs: Map<number, OutputLines>
  /** Reported as done, failed or cached. */
  closed: boolean
}

export function createProgress(emit: (message: EventMessage) => void): Progress {
  const steps = new Map<string, KnownStep>()
  const facts = createFacts()
  let held: { vertex: RawVertex; timer: NodeJS.Timeout } | undefined
  let pushing = false
  const cacheImports = new Map<string, CacheImport>()

  function onVertex(vertex: RawVertex): void {
    if (isCacheImport(vertex)) {
      onCacheImport(vertex)
      return
    }
    facts.seen(vertex)
    if (held && held.vertex.digest !== vertex.digest) release()
    if (!vertex.started && !vertex.completed && !vertex.cached) return
    const step = stepOf(vertex)
    if (!vertex.completed) {
      // A restart: the end that was held back was not the end.
      drop()
      return
    }
    if (vertex.error || vertex.cached) {
      drop()
      close(step, vertex)
      return
    }
    drop()
    const timer = setTimeout(release, STEP_SETTLE_MS)
    held = { vertex, timer }
  }

  /** No step: a cache that is not there yet would be shown as a failed one. */
  function onCacheImport(vertex: RawVertex): void {
    const found = cacheImportOf(vertex)
    if (!found || cacheImports.has(found.repository)) return
    cacheImports.set(found.repository, found)
    emit({ type: 'log', log: found.line })
  }

  function stepOf(vertex: RawVertex): KnownStep {
    const known = steps.get(vertex.digest)
    if (known) return known
    const started = vertex.started ?? vertex.completed ?? new Date().toISOString()
    const step: KnownStep = { n: steps.size + 1, started, outputs: new Map(), closed: false }
    steps.set(vertex.digest, step)
    facts.numbered(vertex.digest, step.n)
    if (!vertex.cached) {
      emit({
        type: 'step',
        step: { ...face(vertex, step.n), state: 'started', started_at: started },
      })
    }
    return step
  }

  function drop(): void {
    clearTimeout(held?.timer)
    held = undefined
  }

  function release(): void {
    const vertex = held?.vertex
    drop()
    const step = vertex && steps.get(vertex.digest)
    if (vertex && step) close(step, vertex)
  }

  function close(step: KnownStep, vertex: RawVertex): void {
    for (const output of step.outputs.values()) output.flush()
    if (step.closed && !vertex.error) return
    step.closed = true
    emit({ type: 'step', step: ended(vertex, step) })
  }

  function onLog(log: RawLog): void {
    const step = steps.get(log.vertex)
    const stream = log.stream ?? 1
    if (!step || !log.data) return
    let output = step.outputs.get(stream)
    if (!output) {
      output = createOutputLines((line) => {
        facts.printed(log.vertex, line)
        emit({ type: 'log', log: line, step: step.n })
      })
      step.outputs.set(stream, output)
    }
    output.push(Buffer.from(log.data, 'base64'))
  }

  function onStatus(status: RawStatus): void {
    if (pushing || !status.id.startsWith('pushing ')) return
    pushing = true
    emit({ type: 'status', status: 'pushing' })
  }

  function onWarning(warning: RawWarning): void {
    const text = Buffer.from(warning.short ?? '', 'base64').toString('utf8')
    if (text) emit({ type: 'log', log: `warning: ${text.slice(0, ERROR_CHARS_MAX)}` })
  }

  function onPlain(line: string): void {
    if (line.trim() === '' || facts.plainLines.length >= PLAIN_LINES_MAX) return
    facts.plainLines.push(line.slice(0, ERROR_CHARS_MAX))
    // The error itself is the result's sentence; the excerpt before it is for the log.
    if (!line.startsWith('error: ')) emit({ type: 'log', log: line.slice(0, ERROR_CHARS_MAX) })
  }

  return {
    facts,
    cacheImports,
    feed(line: string): void {
      const raw = parseRawLine(line)
      if (!raw) onPlain(line)
      for (const vertex of raw?.vertexes ?? []) onVertex(vertex)
      for (const status of raw?.statuses ?? []) onStatus(status)
      for (const log of raw?.logs ?? []) onLog(log)
      for (const warning of raw?.warnings ?? []) onWarning(warning)
    },
    end(): void {
      release()
      for (const step of steps.values()) {
        for (const output of step.outputs.values()) output.flush()
      }
    },
  }
}

function face(vertex: RawVertex, n: number): { n: number; name: string } {
  return { n, name: shortName(vertex.name ?? vertex.digest) }
}

/** A here-document can make a name of any length. */
export function shortName(name: string): string {
  return name.length > STEP_NAME_CHARS_MAX ? `${name.slice(0, STEP_NAME_CHARS_MAX)}…` : name
}

function ended(vertex: RawVertex, step: KnownStep): Step {
  const completed = vertex.completed ?? step.started
  const state = vertex.error ? 'failed' : vertex.cached ? 'cached' : 'done'
  return {
    ...face(vertex, step.n),
    state,
    started_at: step.started,
    completed_at: completed,
    duration_ms: Math.max(0, Date.parse(completed) - Date.parse(step.started)),
    ...(vertex.error ? { error: vertex.error.slice(0, ERROR_CHARS_MAX) } : {}),
  }
}
