// Client programs as parts of the cache: what a folder of this one pins and says, fetched and built once.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { which } from '../../server/setup/tools.ts'

const { cacheDir, assumeYes } = setupEnv()
export const cache = createCache(cacheDir)
export const apt = createApt({ assumeYes })

export interface ClientPart {
  /** A folder beside this file. */
  name: string
  /** What is fetched: `dulwich 1.2.21 from PyPI`. */
  title: string
  build(into: string): Promise<void>
}

/** Folder of the part. Throws SetupError, with the command that repairs. */
export async function clientPart({ name, title, build }: ClientPart): Promise<string> {
  return cache.part({
    name: `client-${name}`,
    version: await hashOf(source(name)),
    title,
    repair: 'npm run test:clients',
    build,
  })
}

/** A file or folder of a client, below this folder. */
export function source(...path: string[]): string {
  return fileURLToPath(new URL(path.join('/'), import.meta.url))
}

/** The version that a client's folder pins, as a pattern's first group. */
export async function pinned(file: string, pattern: RegExp): Promise<string> {
  const [, version] = pattern.exec(await readFile(source(file), 'utf8')) ?? []
  if (version === undefined) throw new Error(`${file} has no ${pattern}`)
  return version
}

/** Programs that are missing and can't be installed: which, and the command that does it. */
export class NoPrograms extends Error {}

/** Absolute paths of programs, installing Debian packages when one is missing. Throws NoPrograms. */
export async function programs<Name extends string>(
  names: readonly Name[],
  packages: string[],
): Promise<Record<Name, string>> {
  const find = async () => {
    const found: Partial<Record<Name, string>> = {}
    for (const name of names) {
      const path = await which(name)
      if (path !== undefined) found[name] = path
    }
    return found
  }
  const missing = (found: Partial<Record<Name, string>>) =>
    names.filter((name) => found[name] === undefined)
  let found = await find()
  if (missing(found).length > 0) {
    const why = await apt.install(packages).catch((error: Error) => error.message)
    found = await find()
    const still = missing(found)
    if (still.length > 0) {
      const command = `apt-get install --no-install-recommends ${packages.join(' ')}`
      throw new NoPrograms(`${still.join(' and ')} missing: ${why ?? command}`)
    }
  }
  return found as Record<Name, string>
}

async function hashOf(folder: string): Promise<string> {
  const hash = createHash('sha256')
  for (const file of (await readdir(folder)).sort()) {
    hash.update(`${file}\0`).update(await readFile(join(folder, file)))
  }
  return hash.digest('hex').slice(0, 12)
}
