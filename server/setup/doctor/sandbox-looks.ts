// What the doctor looks at for RUNNER=bubblewrap: its program, the unpacked builder image, and whether a
// sandbox can be made, by making one with the very steps of the server.
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { createBubblewrapRunner } from '../../runners/bubblewrap.ts'
import type { Cache } from '../cache.ts'
import { lookOnlyApt } from '../debian.ts'
import { type BubblewrapParts, bubblewrapParts } from '../parts/bubblewrap.ts'
import { findParts } from '../parts.ts'
import { type Found, type Look, versionOf } from './look.ts'

const SET_UP = 'RUNNER=bubblewrap npm start'

export function sandboxLooks(cache: Cache): Look[] {
  const look = (name: string, what: () => Promise<Found>) => ({
    name,
    isNeeded: true,
    repair: SET_UP,
    look: what,
  })
  return [
    look('bwrap', async () => {
      const { tools } = await find(cache)
      return { version: await versionOf(tools.bwrap), from: tools.bwrap }
    }),
    look('builder root', async () => {
      const { rootfs } = await find(cache)
      return { version: 'unpacked', from: rootfs }
    }),
    look('sandbox starts', () => lookAtTrial(cache)),
  ]
}

async function find(cache: Cache): Promise<BubblewrapParts> {
  const parts = await findParts()
  return bubblewrapParts(parts, parts.builder, { cache, apt: lookOnlyApt })
}

async function lookAtTrial(cache: Cache): Promise<Found> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-doctor-'))
  try {
    await chmod(dir, 0o711) // the sandbox's user walks through
    const runner = createBubblewrapRunner({
      ...(await find(cache)),
      runDir: join(dir, 'run'),
      dataDir: join(dir, 'data'),
      log: pino({ level: 'silent' }),
    })
    const reason = await runner.unusableReason()
    if (reason !== null) throw new Error(reason)
    return {
      version: 'shared kernel',
      from: 'namespaces, own user ids, seccomp, loop-mounted disk',
      notes: ['a weaker boundary than a VM: for code you trust'],
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
