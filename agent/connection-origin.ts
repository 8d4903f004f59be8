// Which process a loopback connection comes from, as far as /proc tells: its local port leads to the socket's
// inode, and the inode to whoever has it open.
import { readdir, readFile, readlink } from 'node:fs/promises'
import type { Socket } from 'node:net'

export interface ConnectionOrigin {
  /** Path of its program; empty when it is gone already or can't be seen. */
  process: string
  address: string
  port: number
}

export async function originOf(guest: Socket, proc = '/proc'): Promise<ConnectionOrigin> {
  const { remoteAddress: address = '127.0.0.1', remotePort: port = 0, localPort = 0 } = guest
  const process = await programOf(proc, port, localPort).catch(() => '')
  return { process, address, port }
}

async function programOf(proc: string, port: number, localPort: number): Promise<string> {
  for (const table of ['tcp', 'tcp6']) {
    const text = await readFile(`${proc}/net/${table}`, 'latin1').catch(() => '')
    const inode = inodeOf(text, port, localPort)
    if (inode !== undefined) return programWith(proc, `socket:[${inode}]`)
  }
  return ''
}

/** Columns: number, local address, remote address, …; the inode is the tenth. */
export function inodeOf(table: string, from: number, to: number): string | undefined {
  const ending = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const line of table.split('\n').slice(1)) {
    const [, local = '', remote = '', ...rest] = line.trim().split(/\s+/)
    if (local.endsWith(ending(from)) && remote.endsWith(ending(to))) return rest[6]
  }
  return undefined
}

async function programWith(proc: string, link: string): Promise<string> {
  // The youngest first: they are the build's.
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name)).sort((a, b) => +b - +a)
  for (const pid of pids) {
    if (await hasOpen(`${proc}/${pid}/fd`, link)) return readlink(`${proc}/${pid}/exe`)
  }
  return ''
}

async function hasOpen(folder: string, link: string): Promise<boolean> {
  const fds = await readdir(folder).catch(() => [])
  for (const fd of fds) {
    if ((await readlink(`${folder}/${fd}`).catch(() => '')) === link) return true
  }
  return false
}
