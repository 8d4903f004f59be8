// Static programs for RUN steps, built from the fixtures: `dial64`, `dial32`, `fetch`.
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { findGo } from '../../server/setup/parts/go.ts'
import { removeFolder } from './folders.ts'

export async function givenPrograms(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-programs-'))
  t.after(() => removeFolder(dir))
  const { cacheDir, assumeYes } = setupEnv()
  const go = await findGo(createCache(cacheDir), createApt({ assumeYes }))
  const build = async (fixture: string, name: string, arch: string) => {
    const cwd = fileURLToPath(new URL(`../fixtures/${fixture}`, import.meta.url))
    const env = { ...go.env, GOOS: 'linux', GOARCH: arch, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' }
    await execa(go.path, ['build', '-trimpath', '-o', join(dir, name), '.'], { cwd, env })
  }
  await build('vsock-dialer', 'dial64', 'amd64')
  await build('vsock-dialer', 'dial32', '386')
  await build('fetch', 'fetch', 'amd64')
  return dir
}
