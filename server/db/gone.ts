// Whether an error only says that the database can't be reached now, and work that waits for it.
import { setTimeout as sleep } from 'node:timers/promises'
import { AppError, asError } from '../errors.ts'
import { DATABASE_RETRY_MS } from '../limits.ts'

/** Node and PostgreSQL codes of a database that cannot be reached or is going away. */
const DATABASE_GONE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'ENOENT',
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '08006',
  // A transaction that was left alone for too long, by a process that was stopped.
  '25P03',
])

/** In the driver's words, which have no code; knex puts the statement before them. */
const GONE_WORDS = /(?:^| - )(?:Connection terminated|timeout expired$|Client .* is not queryable)/

export function isDatabaseGone(thrown: unknown): boolean {
  const error = asError(thrown) as Error & { code?: unknown; syscall?: unknown }
  const isConnect = error.code !== 'ENOENT' || error.syscall === 'connect'
  return (
    error.name === 'KnexTimeoutError' ||
    GONE_WORDS.test(error.message) ||
    (DATABASE_GONE.has(String(error.code)) && isConnect)
  )
}

/** Two transactions waited for each other, and this one was taken back: it may be repeated. */
export function isDeadlock(thrown: unknown): boolean {
  return (asError(thrown) as Error & { code?: unknown }).code === '40P01'
}

/** Nothing is wrong with what was asked for: the same may go well in a moment. */
export function isPassing(thrown: unknown): boolean {
  return isDatabaseGone(thrown) || isDeadlock(thrown)
}

/** What the caller of a request hears then. */
export function databaseUnavailable(cause: unknown): AppError {
  const why = isDeadlock(cause)
    ? 'the database took this back, because another change stood in its way'
    : 'the database cannot be reached'
  const message = `${why}; try again in a moment`
  return new AppError('database_unavailable', message, { cause })
}

/** Work that may be repeated, until the database does it. Rejects with the signal's reason when that aborts. */
export async function untilDatabase<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isPassing(error)) throw error
      signal.throwIfAborted()
      await sleep(DATABASE_RETRY_MS, undefined, { signal }).catch(() => {})
      signal.throwIfAborted()
    }
  }
}
