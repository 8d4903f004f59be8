// The columns of the transcript, and how times are written in it.

export const STEP = '-----> '
export const DETAIL = '       '

const MINUTE_MS = 60_000

/** `0.4s`, `38.1s`, `2m05s`. */
export function duration(ms: number): string {
  if (ms < MINUTE_MS) return `${(Math.max(0, ms) / 1000).toFixed(1)}s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`
}
