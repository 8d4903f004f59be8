// Debian's package index beside the machine's own, for machines that are not Debian 12 (Ubuntu has other
// kernels): apt with its own folders and one source, so that the machine's apt is not touched.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { DEBIAN_KEYRING } from './tools.ts'

export const DEBIAN_SUITE = 'bookworm'
const UPDATE_DEADLINE_MS = 600_000

export interface PackageIndex {
  /** Direct dependencies of a package, by name; none when the index does not know it. */
  depends(name: string): Promise<string[]>
  /** Downloads a package file into a folder. */
  download(name: string, into: string): Promise<void>
}

/** The index of the machine itself. */
export const machineIndex: PackageIndex = packageIndex([])

/**
 * Makes and updates an index of Debian below `work`, which the caller removes. `sources` are the lines of
 * a sources.list: those that mmdebstrap has put into the builder's base.
 */
export async function debianIndex(work: string, sources: string): Promise<PackageIndex> {
  for (const folder of ['lists/partial', 'cache/archives/partial', 'parts', 'empty']) {
    await mkdir(join(work, folder), { recursive: true })
  }
  await writeFile(join(work, 'sources.list'), sources)
  await writeFile(join(work, 'status'), '')
  const options = Object.entries({
    'Dir::Etc::sourcelist': join(work, 'sources.list'),
    'Dir::Etc::sourceparts': join(work, 'empty'),
    'Dir::Etc::trusted': DEBIAN_KEYRING,
    'Dir::Etc::trustedparts': join(work, 'empty'),
    'Dir::Etc::preferencesparts': join(work, 'empty'),
    'Dir::State': work,
    'Dir::State::lists': join(work, 'lists'),
    'Dir::State::status': join(work, 'status'),
    'Dir::Cache': join(work, 'cache'),
    'APT::Architecture': 'amd64',
    'APT::Architectures': 'amd64',
    'APT::Sandbox::User': '', // its own user could not walk into the work folder
    'Acquire::Languages': 'none',
  }).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await execa('apt-get', [...options, '-qq', 'update'], { timeout: UPDATE_DEADLINE_MS })
  return packageIndex(options)
}

function packageIndex(options: string[]): PackageIndex {
  return {
    async depends(name) {
      const { stdout } = await execa('apt-cache', [...options, 'depends', name], { reject: false })
      return [...stdout.matchAll(/^\s*Depends: (\S+)/gm)].map((found) => found[1]!)
    },
    async download(name, into) {
      const args = [...options, '-qq', '-o', 'APT::Sandbox::User=', 'download', name]
      await execa('apt-get', args, { cwd: into, timeout: 600_000 })
    },
  }
}
