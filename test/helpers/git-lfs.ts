// The real git-lfs: the machine's own, or Debian's package unpacked into the cache of parts.
import { createHash } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { prependPath } from '../../server/config.ts'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { machineIndex } from '../../server/setup/debian-index.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { which } from '../../server/setup/tools.ts'
import type { GitServer } from './git-server.ts'
import type { Repo } from './repo.ts'

export const CONTENT = 'weights '.repeat(50_000)
export const OID = createHash('sha256').update(CONTENT).digest('hex')

/** Puts it where git finds it. */
export async function givenGitLfs(): Promise<void> {
  if (await which('git-lfs')) return
  const { cacheDir, assumeYes } = setupEnv()
  const dir = await createCache(cacheDir).part({
    name: 'git-lfs',
    version: 'debian',
    title: 'git-lfs, unpacked only',
    repair: 'apt-get install git-lfs',
    async build(into) {
      const work = join(into, '.deb')
      await mkdir(work)
      await createApt({ assumeYes }).update()
      await machineIndex.download('git-lfs', work)
      for (const file of await readdir(work))
        await execa('dpkg-deb', ['-x', join(work, file), into])
      await rm(work, { recursive: true })
    },
  })
  prependPath(join(dir, 'usr/bin'))
}

/** A client whose `*.bin` are kept by git-lfs, one of them, `model.bin`, with CONTENT. */
export async function givenLfsClient(t: TestContext, server: GitServer, app = 'web', request = {}) {
  const repo = await server.givenClient(t, app, request)
  await trackModel(repo)
  return repo
}

export async function trackModel(repo: Repo): Promise<void> {
  await givenGitLfs()
  await repo.git('lfs', 'install', '--local')
  await repo.git('lfs', 'track', '*.bin')
  await repo.write('model.bin', CONTENT)
  await repo.commit('a model')
}
