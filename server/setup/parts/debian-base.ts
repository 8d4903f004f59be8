// The builder image's lowest layer: a small Debian with the packages of images/generic/packages.txt.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Cache } from '../cache.ts'
import { asRoot, isRoot } from '../debian.ts'
import { DEBIAN_SUITE } from '../debian-index.ts'
import type { Tools } from '../tools.ts'

const DEADLINE_MS = 900_000
/** Nobody reads them in a build; they are as much as git takes. */
const LEFT_OUT = ['doc', 'man', 'info', 'locale'].map((name) => `/usr/share/${name}/*`)
const LICENCES = '/usr/share/doc/*/copyright'

export interface DebianBase {
  tar: string
  /** Changes when what goes in changes. */
  key: string
}

export async function debianBase(
  cache: Cache,
  tools: Tools,
  packages: string[],
): Promise<DebianBase> {
  const inputs = `${DEBIAN_SUITE} ${packages.join()} ${dpkgOptions().join()}`
  const key = createHash('sha256').update(inputs).digest('hex').slice(0, 12)
  const dir = await cache.part({
    name: 'builder-base',
    version: key,
    title: `builder image: Debian ${DEBIAN_SUITE} base, about 30 s`,
    repair: 'npm run setup',
    build: (into) => bootstrap(tools.mmdebstrap, packages, join(into, 'base.tar')),
  })
  return { tar: join(dir, 'base.tar'), key }
}

/** Where its packages come from, in the words of its own sources.list. */
export async function debianSources({ tar }: DebianBase): Promise<string> {
  const { stdout } = await execa('tar', ['-xOf', tar, './etc/apt/sources.list'])
  return `${stdout}\n`
}

function dpkgOptions(): string[] {
  return [...LEFT_OUT.map((path) => `path-exclude=${path}`), `path-include=${LICENCES}`]
}

async function bootstrap(mmdebstrap: string, packages: string[], tar: string): Promise<void> {
  // essential: dpkg goes with anything smaller, and the packages could not be configured.
  const args = ['--quiet', '--variant=essential', `--include=${packages.join(',')}`]
  for (const option of dpkgOptions()) args.push(`--dpkgopt=${option}`)
  const command = [mmdebstrap, ...args, DEBIAN_SUITE, tar]
  // Without root it makes user namespaces, which many machines do not allow.
  const plain = await execa(mmdebstrap, command.slice(1), { reject: false, timeout: DEADLINE_MS })
  if (!plain.failed) return
  if (isRoot()) throw plain
  await asRoot(command, DEADLINE_MS)
}
