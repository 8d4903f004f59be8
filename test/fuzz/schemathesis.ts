// schemathesis from PyPI, in the cache like every other part.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { createCache } from '../../server/setup/cache.ts'
import { setupEnv } from '../../server/setup/env.ts'

const VERSION = '4.32.5'
const SETTINGS = fileURLToPath(new URL('schemathesis.toml', import.meta.url))

export interface FuzzRun {
  url: string
  token: string
  /** The token is an operator's. */
  operator: boolean
  /** Test cases for each operation. */
  examples: number
  seed: number
}

/** Runs all checks over every operation of /openapi.json; resolves with the exit code, 0 = nothing found. */
export async function fuzz(run: FuzzRun): Promise<number> {
  const { url, token, operator, examples, seed } = run
  const folder = await createCache(setupEnv().cacheDir).part({
    name: 'schemathesis',
    version: VERSION,
    title: `schemathesis ${VERSION} from PyPI, about 30 s`,
    repair: 'apt-get install -y python3-venv && npm run fuzz',
    async build(into) {
      await execa('python3', ['-m', 'venv', into])
      const python = join(into, 'bin/python')
      await execa(python, ['-m', 'pip', 'install', '--quiet', `schemathesis==${VERSION}`])
    },
  })
  const args = [
    '-c',
    'from schemathesis.cli import schemathesis; schemathesis()',
    ...['--config-file', SETTINGS, 'run', `${url}/openapi.json`],
    ...['--continue-on-failure', '--no-color'],
    // The same app name in another tenant is another app; only an operator can name that.
    ...(operator ? ['--exclude-checks', 'use_after_free'] : []),
    ...['--max-examples', String(examples), '--seed', String(seed)],
    ...['--header', `Authorization: Bearer ${token}`, '--request-timeout', '30'],
    // Spoken by their own clients, over ways of their own; tested in test/git and test/registry.
    ...['--exclude-tag', 'git', '--exclude-tag', 'registry'],
    ...['--generation-database', 'none'],
  ]
  const cwd = await mkdtemp(join(tmpdir(), 'hm-fuzz-')) // it keeps notes where it runs
  try {
    const stdio = ['ignore', 'inherit', 'inherit'] as const
    const child = spawn(join(folder, 'bin/python'), args, { cwd, stdio: [...stdio] })
    const [code] = await once(child, 'exit')
    return code ?? 1
  } finally {
    await rm(cwd, { recursive: true, force: true })
  }
}
