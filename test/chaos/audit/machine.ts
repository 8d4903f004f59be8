// What the kernel keeps of pods: mounts and control groups.
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'

export async function mountsBelow(
  folders: readonly string[],
  table = '/proc/self/mountinfo',
): Promise<string[]> {
  const mounts = (await readFile(table, 'utf8')).split('\n')
  return mounts
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => folders.some((folder) => point.startsWith(`${folder}/`)))
    .map((point) => `mount ${point}`)
}

/** Those of pods are named after their builds. */
export async function cgroupsOf(
  builds: readonly { id: string }[],
  root = '/sys/fs/cgroup',
): Promise<string[]> {
  const ids = new Set(builds.map(({ id }) => id))
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter(({ parentPath }) => basename(parentPath) === 'hypeman-pods')
    .filter((entry) => entry.isDirectory() && ids.has(entry.name.replace(/-\d+$/, '')))
    .map(({ parentPath, name }) => `control group ${join(parentPath, name)}`)
}
