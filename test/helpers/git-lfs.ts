// The real git-lfs: the machine's own, or Debian's package unpacked into the cache of parts.
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { prependPath } from '../../server/config.ts'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { machineIndex } from '../../server/setup/debian-index.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { which } from '../../server/setup/tools.ts'

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
