// The ways in which git may be configured to push, each of which puts something else on the wire.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gitClient } from '../helpers/common-clients.ts'
import { givenGatedServer } from '../helpers/gate.ts'

const PACK_BYTES = 300_000

interface Convention {
  settings?: string[]
  flags?: string[]
}

const CONVENTIONS: Record<string, Convention> = {
  'protocol version 0': { settings: ['protocol.version=0'] },
  'protocol version 1': { settings: ['protocol.version=1'] },
  'protocol version 2 with negotiation': {
    settings: ['protocol.version=2', 'push.negotiate=true'],
  },
  'a pack in chunks': { settings: ['http.postBuffer=65536'] },
  'a pack in chunks, after "Expect: 100-continue"': {
    settings: ['http.postBuffer=65536', 'http.extraHeader=Expect: 100-continue'],
  },
  'an offer of HTTP/2': { settings: ['http.version=HTTP/2'] },
  'no bitmaps, no thin pack': { settings: ['push.useBitmaps=false'], flags: ['--no-thin'] },
  'signed if asked, atomic': { flags: ['--signed=if-asked', '--atomic'] },
  'only if it is still where it was': { flags: ['--force-with-lease'] },
}

for (const [name, { settings, flags }] of Object.entries(CONVENTIONS)) {
  test(`git with ${name}: the first push, a later one, and one that fails`, async (t) => {
    const { server, repo, tip } = await givenGatedServer(t, { gate: false })
    const password = await server.token()
    const client = gitClient(settings, flags)
    const url = `${server.url}/web.git`
    await repo.git('remote', 'set-url', 'hypeman', url)
    const refspec = 'refs/heads/main:refs/heads/main'
    for (const outcome of ['ready', 'ready', 'failed'] as const) {
      await writeFile(join(repo.dir, 'noise'), randomBytes(PACK_BYTES))
      const commit = await repo.commit()
      const options = outcome === 'failed' ? ['gate'] : []
      const order = { dir: repo.dir, url: 'hypeman', user: 'ada', password, refspec, options }
      const before = await tip()
      const push = client.push(order)
      const [, id = ''] = await push.saw(/-----> Build ([a-z0-9]+) queued/)
      await (outcome === 'ready' ? server.pass(id) : server.end(id, 'failed', FAILURE))
      const { ok, reason, text } = await push.done
      assert.equal(ok, outcome === 'ready', `${reason}\n${text}`)
      assert.equal(await tip(), ok ? commit : before)
      if (!ok) assert.match(reason, new RegExp(`build ${id} failed: exit code 1`))
    }
  })
}

const FAILURE = { failure_class: 'build', error: 'exit code 1' }
