// Numbers of a bench run and how they are shown.
import type { Phases } from '../../server/builds/schema.ts'

export interface Sample {
  firstLineMs: number
  readyMs: number
  phases: Phases
  /** undefined when bare buildctl could not run here. */
  bareMs: number | undefined
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** The value that a part `p` (0.99) of the values does not exceed. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN
}

export function perSecond(count: number, ms: number): string {
  return `${Math.round((count * 1000) / ms)}/s`
}

/** `1.2 ms` */
export function shortMs(ms: number): string {
  return `${ms.toFixed(1)} ms`
}

export function times(ours: number, other: number): string {
  return `${(ours / other).toPrecision(2)}x`
}

/** Columns padded to their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(width(column)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
