// go-git from the Go module proxy.
import { join } from 'node:path'
import { execa } from 'execa'
import { findGo } from '../../server/setup/parts/go.ts'
import { testClient } from '../helpers/client-behaviour.ts'
import { programClient } from '../helpers/git-clients.ts'
import { apt, cache, clientPart, pinned, source } from './parts.ts'

const version = await pinned('go-git/go.mod', /^require github\.com\/go-git\/go-git\/v\d+ v(\S+)$/m)
const folder = await clientPart({
  name: 'go-git',
  title: `go-git ${version} from Go modules`,
  async build(into) {
    const go = await findGo(cache, apt)
    const env = { ...go.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'auto' }
    const flags = ['-trimpath', '-o', join(into, 'push')]
    await execa(go.path, ['build', ...flags, '.'], { cwd: source('go-git'), env })
  },
})
const command = [join(folder, 'push')] as const
testClient(programClient({ name: `go-git ${version}`, sendsOptions: true, command }))
