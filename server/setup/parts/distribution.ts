// CNCF distribution: the registry behind our proxy.
import type { Cache } from '../cache.ts'
import type { Apt } from '../debian.ts'
import { goProgram } from './go.ts'

export const DISTRIBUTION_VERSION = 'v3.1.2'

export function distribution(cache: Cache, apt: Apt): Promise<string> {
  return goProgram(cache, apt, {
    module: 'distribution',
    version: DISTRIBUTION_VERSION,
    title: `CNCF distribution ${DISTRIBUTION_VERSION} from Go modules, about 1 min`,
    packages: ['github.com/distribution/distribution/v3/cmd/registry'],
    ldflags: `-X github.com/distribution/distribution/v3/version.version=${DISTRIBUTION_VERSION}`,
  })
}
