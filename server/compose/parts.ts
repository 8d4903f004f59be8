// Says to others who share the cache what this server has of it, and lets old versions in it go meanwhile.
import { asError } from '../errors.ts'
import { holdParts } from '../setup/parts-in-use.ts'
import { sweepCaches } from '../setup/sweep-parts.ts'
import type { Core } from './core.ts'

/** Once everything that this server uses has been asked for. */
export async function keepParts({ parts, log, releasers }: Core): Promise<void> {
  const warn = (what: string) => (error: unknown) => log.warn({ err: asError(error).message }, what)
  const release = await holdParts(warn('others are not told which parts are in use'))
  releasers.add('parts', release)
  const sweeping = sweepCaches(parts.cacheDir).then((removed) => {
    if (removed.length > 0) log.info({ removed }, 'old parts removed')
  }, warn('old parts not removed'))
  releasers.add('sweep of parts', () => sweeping)
}
