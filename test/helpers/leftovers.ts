// What a server may leave on a machine: looked up by its own data and runtime folders, never by name alone.
import { readdir, readFile, readlink } from 'node:fs/promises'
import { pathsFor } from '../../server/paths.ts'

export interface Leftovers {
  processes: string[]
  podFiles: string[]
}

/** Processes that carry or hold open something of this data folder, and files of its pods. */
export async function leftovers(dataDir: string): Promise<Leftovers> {
  const paths = pathsFor(dataDir)
  const needles = [dataDir, paths.run]
  const processes: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const held = await openFiles(pid)
    if ([command, ...held].some((text) => needles.some((needle) => text.includes(needle)))) {
      processes.push(`${pid} ${command.replaceAll('\0', ' ').slice(0, 200)}`)
    }
  }
  const podFiles = [...(await list(paths.podRun)), ...(await list(paths.pods))]
  return { processes, podFiles }
}

async function openFiles(pid: string): Promise<string[]> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => [])
  return Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')))
}

async function list(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => [])
}

/** Pids of the QEMU processes of one server: its children. */
export function qemuPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, 'qemu-system')
}

/** Of the devices that carry the channels of its VMs. */
export function vsockPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, 'vhost-device-vsock')
}

/** Pids of the pods of one server, whatever they run in. */
export async function podPids(serverPid: number): Promise<number[]> {
  return [...(await qemuPids(serverPid)), ...(await childrenOf(serverPid, '/bwrap'))]
}

/** Of the registry that a server runs for itself. */
export function registryPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, '/registry.json')
}

async function childrenOf(serverPid: number, word: string): Promise<number[]> {
  const found: number[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const [stat, command] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''),
      readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
    ])
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    if (parent === serverPid && command.includes(word)) found.push(Number(pid))
  }
  return found
}
