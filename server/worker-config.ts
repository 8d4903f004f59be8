// The settings of a worker on a machine of its own.
import { type Config, ConfigError } from './config.ts'

/** What a worker on its own can't do without. */
export interface WorkerConfig {
  databaseUrl: string
  serverUrl: string
  token: string
}

/** Throws ConfigError. */
export function workerConfig({
  databaseUrl,
  serverUrl,
  workerToken,
}: Pick<Config, 'databaseUrl' | 'serverUrl' | 'workerToken'>): WorkerConfig {
  if (databaseUrl !== undefined && serverUrl !== undefined && workerToken !== undefined) {
    return { databaseUrl, serverUrl, token: workerToken }
  }
  const needed = {
    DATABASE_URL: [databaseUrl, 'the database of the server, postgres://…'],
    SERVER_URL: [serverUrl, 'where the server listens, http(s)://…'],
    WORKER_TOKEN: [workerToken, 'printed by `npm run -s token -- --worker` beside the server'],
  }
  const missing = Object.entries(needed).filter(([, [value]]) => value === undefined)
  const lines = missing.map(([name, [, what]]) => `${name} is not set, a worker needs it: ${what}`)
  throw new ConfigError(lines.join('\n'))
}
