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
  return childrenOf(serverPid, ['qemu-system'])
}

/** Of the devices that carry the channels of its VMs. */
export function vsockPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, ['vhost-device-vsock'])
}

/** Pids of the pods of one server, whatever they run in. */
export function podPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, ['qemu-system', '/bwrap'])
}

/** Of the registry that a server runs for itself. */
export function registryPids(serverPid: number): Promise<number[]> {
  return childrenOf(serverPid, ['/registry.json'])
}

/** A process and all that it has started, the first one first. */
export async function treeOf(pid: number): Promise<number[]> {
  const parents = new Map<number, number>()
  for (const name of await readdir('/proc')) {
    if (/^\d+$/.test(name)) parents.set(Number(name), (await parentOf(Number(name))) ?? 0)
  }
  const tree = [pid]
  for (const one of tree) {
    for (const [child, parent] of parents) if (parent === one) tree.push(child)
  }
  return tree
}

/** undefined when it has ended. */
export async function parentOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat === '' ? undefined : Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

/** Those with one of the words in their command. */
async function childrenOf(serverPid: number, words: readonly string[]): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const [parent, command] = await Promise.all([
      parentOf(Number(name)),
      readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => ''),
    ])
    const isMeant = parent === serverPid && words.some((word) => command.includes(word))
    if (isMeant) found.push(Number(name))
  }
  return found
}
