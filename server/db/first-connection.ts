// The first word with the database of DATABASE_URL: what is wrong with it is said as a setting that is wrong.
import { ConfigError } from '../config.ts'
import { asError } from '../errors.ts'
import type { Db } from './pool.ts'

/** Throws ConfigError, without the password of the address. */
export async function requireDatabase(db: Db, url: string): Promise<void> {
  try {
    await db.raw('select 1')
  } catch (error) {
    const { message } = asError(error)
    throw new ConfigError(
      `DATABASE_URL=${shown(url)}: no database to work with: ${message}. PostgreSQL must run there, and take this user and database`,
    )
  }
}

function shown(url: string): string {
  const address = new URL(url)
  address.password = ''
  // A query may have credentials as well.
  for (const name of [...address.searchParams.keys()]) {
    if (name !== 'host' && name !== 'port') address.searchParams.delete(name)
  }
  return address.href
}
