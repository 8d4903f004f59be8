// What a build's event stream tells beyond its log: the graph, which step failed, what it printed last.
// Provenance and the failure's sentence are made from it.
import { LAST_LINE_CHARS_MAX, LAST_LINES_MAX } from './limits.ts'
import type { RawVertex } from './rawjson.ts'

export interface FailedVertex {
  n: number
  name: string
  error: string
  lastLines: readonly string[]
}

export interface Facts {
  /** Every vertex by digest, in its last state. */
  readonly vertices: ReadonlyMap<string, RawVertex>
  /** The plain text after the stream: source excerpt and `error: …`. */
  readonly plainLines: string[]
  seen(vertex: RawVertex): void
  numbered(digest: string, n: number): void
  printed(digest: string, line: string): void
  /** The step that broke the build: the first that failed by itself. */
  failed(): FailedVertex | undefined
}

export function createFacts(): Facts {
  const vertices = new Map<string, RawVertex>()
  const numbers = new Map<string, number>()
  const lastLines = new Map<string, string[]>()
  const errors: string[] = []

  return {
    vertices,
    plainLines: [],
    seen(vertex: RawVertex): void {
      // A merge of layers is told a second time, then without what it is made of.
      const inputs = vertex.inputs ?? vertices.get(vertex.digest)?.inputs
      vertices.set(vertex.digest, inputs ? { ...vertex, inputs } : vertex)
      if (vertex.error && !isConsequence(vertex.error) && !errors.includes(vertex.digest)) {
        errors.push(vertex.digest)
      }
    },
    numbered(digest: string, n: number): void {
      numbers.set(digest, n)
    },
    printed(digest: string, line: string): void {
      const lines = lastLines.get(digest) ?? []
      lines.push(line.slice(0, LAST_LINE_CHARS_MAX))
      if (lines.length > LAST_LINES_MAX) lines.shift()
      lastLines.set(digest, lines)
    },
    failed(): FailedVertex | undefined {
      const digest = errors[0]
      const vertex = digest === undefined ? undefined : vertices.get(digest)
      if (digest === undefined || !vertex?.error) return undefined
      return {
        n: numbers.get(digest) ?? 1,
        name: vertex.name ?? digest,
        error: vertex.error,
        lastLines: lastLines.get(digest) ?? [],
      }
    },
  }
}

/** Steps that ran beside the failing one are cancelled; that is not why the build failed. */
function isConsequence(error: string): boolean {
  // At the end only: the text before it quotes the command.
  return /(?:^|: )context canceled$/.test(error)
}
