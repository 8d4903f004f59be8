// A client in Python: its requirements, all pinned, in a virtual environment of the cache.

import { join } from 'node:path'
import { execa } from 'execa'
import { testClient } from '../helpers/client-behaviour.ts'
import { programClient } from '../helpers/git-clients.ts'
import { apt, clientPart, pinned, programs, source } from './parts.ts'

export async function testPythonClient(
  name: string,
  facts: { showsAsciiOnly?: boolean } = {},
): Promise<void> {
  const version = await pinned(`${name}/requirements.txt`, new RegExp(`^${name}==(\\S+)$`, 'm'))
  const folder = await clientPart({
    name,
    title: `${name} ${version} from PyPI`,
    async build(into) {
      const { python3 } = await programs(['python3'], ['python3'])
      const bare = await execa(python3, ['-c', 'import ensurepip'], { reject: false })
      if (bare.failed) await apt.install(['python3-venv'])
      await execa(python3, ['-m', 'venv', into])
      const requirements = source(name, 'requirements.txt')
      const flags = [
        '--quiet',
        '--no-deps',
        '--only-binary',
        ':all:',
        '--requirement',
        requirements,
      ]
      await execa(join(into, 'bin/python'), ['-m', 'pip', 'install', ...flags])
    },
  })
  const command = [join(folder, 'bin/python'), source(name, 'push.py')] as const
  const title = `${name} ${version}`
  testClient(programClient({ ...facts, name: title, sendsOptions: true, command }))
}
