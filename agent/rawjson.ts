// One line of `buildctl --progress=rawjson`, as far as the agent reads it (BuildKit's client.SolveStatus).
export interface RawVertex {
  digest: string
  inputs?: string[]
  name?: string
  started?: string
  completed?: string
  cached?: boolean
  error?: string
}

export interface RawStatus {
  id: string
  vertex: string
}

export interface RawLog {
  vertex: string
  stream?: number
  /** Base64 of a chunk, which need not be a line nor end at a character. */
  data?: string
}

export interface RawWarning {
  short?: string
}

export interface RawProgress {
  vertexes?: RawVertex[]
  statuses?: RawStatus[]
  logs?: RawLog[]
  warnings?: RawWarning[]
}

/** Undefined for the plain text that follows the stream: source excerpts and the final `error: …`. */
export function parseRawLine(line: string): RawProgress | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const value = JSON.parse(line) as RawProgress
    const known = value.vertexes ?? value.statuses ?? value.logs ?? value.warnings
    return Array.isArray(known) ? value : undefined
  } catch {
    return undefined
  }
}
