// Several signals and a deadline as one. Not AbortSignal.any over AbortSignal.timeout: in Node 20 the time-out
// inside may be collected as garbage, and then it never fires.

export interface JoinedSignal {
  signal: AbortSignal
  /** Forgets the sources and the timer; the signal then stays as it is. */
  dispose(): void
}

export function joinSignals(sources: readonly AbortSignal[], deadlineMs?: number): JoinedSignal {
  const controller = new AbortController()
  const late = () => controller.abort(new Error(`not within ${(deadlineMs ?? 0) / 1000} s`))
  const timer = deadlineMs === undefined ? undefined : setTimeout(late, deadlineMs)
  const onAbort = (event: Event) => controller.abort((event.target as AbortSignal).reason)
  for (const source of sources) {
    if (source.aborted) controller.abort(source.reason)
    else source.addEventListener('abort', onAbort, { once: true })
  }
  return {
    signal: controller.signal,
    dispose() {
      clearTimeout(timer)
      for (const source of sources) source.removeEventListener('abort', onAbort)
    },
  }
}
