// What the bubblewrap runner needs beyond the other parts: one Debian package, and the builder image unpacked.
// Got only when that runner is asked for.
import { builderRoot } from '../../disks/builder-root.ts'
import { type Cache, createCache, SetupError } from '../cache.ts'
import { type Apt, createApt } from '../debian.ts'
import { setupEnv } from '../env.ts'
import type { Parts } from '../parts-types.ts'
import { which } from '../tools.ts'

export interface BubblewrapParts {
  tools: Record<'bwrap' | 'unshare' | 'prlimit' | 'setpriv' | 'mkfsExt4', string>
  /** The unpacked builder image. */
  rootfs: string
}

/** `builder` may be another image than the generic one. Throws SetupError with the command that repairs. */
export function ensureBubblewrap(
  parts: Pick<Parts, 'cacheDir' | 'mkfsExt4' | 'setpriv'>,
  builder: Pick<Parts['builder'], 'disk' | 'digest'>,
): Promise<BubblewrapParts> {
  const apt = createApt({ assumeYes: setupEnv().assumeYes })
  return bubblewrapParts(parts, builder, { cache: createCache(parts.cacheDir), apt })
}

export async function bubblewrapParts(
  parts: Pick<Parts, 'mkfsExt4' | 'setpriv'>,
  builder: Pick<Parts['builder'], 'disk' | 'digest'>,
  { cache, apt }: { cache: Cache; apt: Apt },
): Promise<BubblewrapParts> {
  if (!(await which('bwrap'))) await apt.install(['bubblewrap'])
  const unsquashfs = await needed('unsquashfs', 'squashfs-tools')
  return {
    tools: {
      bwrap: await needed('bwrap', 'bubblewrap'),
      unshare: await needed('unshare', 'util-linux'),
      prlimit: await needed('prlimit', 'util-linux'),
      setpriv: parts.setpriv,
      mkfsExt4: parts.mkfsExt4,
    },
    rootfs: await builderRoot(builder, { cache, unsquashfs }),
  }
}

async function needed(tool: string, debianPackage: string): Promise<string> {
  const path = await which(tool)
  if (path) return path
  throw new SetupError(`${tool} is missing`, `apt-get install --reinstall ${debianPackage}`)
}
