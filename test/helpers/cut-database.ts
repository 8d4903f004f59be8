// A database that can be taken away: everything goes through a socket of the test's own.
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { embeddedUrl } from '../../server/db/embedded.ts'
import { removeFolder } from './folders.ts'

export interface CutDatabase {
  /** By this way. */
  url: string
  /** Ends every connection and refuses new ones. */
  cut(): Promise<void>
  /** What the database answers does not come any more; the connections stay, and new ones are taken. */
  silence(): void
  restore(): Promise<void>
  /** From now on what the database answers is thrown away, once it has got so far as to answer. */
  loseAnswers(): void
}

const SOCKET = '.s.PGSQL.5432'

/** `url` names a database on a unix socket. */
export async function cuttable(t: TestContext, url: string): Promise<CutDatabase> {
  const target = new URL(url)
  const socketDir = target.searchParams.get('host') ?? ''
  const dir = await mkdtemp(join(tmpdir(), 'hm-cut-'))
  const open = new Set<Socket>()
  let losesAnswers = false
  let isSilent = false
  const server = createServer((near) => {
    const far = connect(join(socketDir, SOCKET))
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => {}).on('close', () => open.delete(socket))
    }
    near.pipe(far)
    far.on('data', (bytes) => {
      if (isSilent) return
      if (losesAnswers) near.destroy()
      else near.write(bytes)
    })
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  const listen = async () => {
    server.listen(join(dir, SOCKET))
    await once(server, 'listening')
  }
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of open) socket.destroy()
    await closed
  }
  await listen()
  t.after(async () => {
    await close()
    await removeFolder(dir)
  })
  return {
    url: embeddedUrl(dir, target.pathname.slice(1)),
    cut: close,
    silence() {
      isSilent = true
    },
    async restore() {
      losesAnswers = false
      isSilent = false
      if (!server.listening) await listen()
    },
    loseAnswers() {
      losesAnswers = true
    },
  }
}
