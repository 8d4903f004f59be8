// BuildKit: buildkitd and buildctl for the guest.
import type { Cache } from '../cache.ts'
import type { Apt } from '../debian.ts'
import { goProgram } from './go.ts'

export const BUILDKIT_VERSION = 'v0.33.1'

export function buildkit(cache: Cache, apt: Apt): Promise<string> {
  return goProgram(cache, apt, {
    module: 'buildkit',
    version: BUILDKIT_VERSION,
    title: `BuildKit ${BUILDKIT_VERSION} from Go modules, about 3 min`,
    packages: ['github.com/moby/buildkit/cmd/buildctl', 'github.com/moby/buildkit/cmd/buildkitd'],
    // Without its version, provenance would say "unknown".
    ldflags: `-X github.com/moby/buildkit/version.Version=${BUILDKIT_VERSION}`,
  })
}
