// The structured log: JSON lines on stderr. Build output is data and never goes through here.
import { type Logger, pino } from 'pino'

export type Log = Logger

export function createLog(level: string): Log {
  return pino(
    {
      level,
      base: null,
      redact: ['authorization', 'token', 'password', 'headers.authorization', 'headers.cookie'],
    },
    pino.destination({ dest: 2, sync: true }),
  )
}
