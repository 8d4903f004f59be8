// What nobody needs any more and is still on the machine: processes, pods, sockets, mounts, half-written files.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pathsFor } from '../../../server/paths.ts'
import { leftovers, parentOf } from '../../helpers/leftovers.ts'
import type { Facts } from './facts.ts'
import type { AuditInput, Finding } from './input.ts'
import { cgroupsOf, mountsBelow } from './machine.ts'
import type { Repositories } from './repositories.ts'

/** Folders that are empty when nothing is under way. */
const TRANSIENT = [
  'objects/incoming',
  'objects/lfs/incoming',
  'fetched-objects',
  'fetched-lfs-objects',
]
export async function checkLeftovers(
  facts: Facts,
  input: AuditInput,
  repositories: Repositories,
): Promise<Finding[]> {
  const found = [...ofRepositories(repositories), ...(await cgroupsOf(facts.builds))]
  const built = facts.attempts.filter(({ outcome }) => outcome === 'built')
  const mayHaveDisk = new Set(built.map(({ build_id: id, attempt }) => `${id}-${attempt}.img`))
  for (const dataDir of input.dataDirs) {
    found.push(...(await processesOf(dataDir, input.pids)))
    const { podFiles } = await leftovers(dataDir)
    found.push(...podFiles.map((name) => `of a pod in ${dataDir}: ${name}`))
    found.push(
      ...(await filesOf(dataDir)),
      ...(await disksOf(dataDir, mayHaveDisk)),
      ...(await mountsBelow([dataDir, pathsFor(dataDir).run])),
    )
    if (input.isStopped) found.push(...(await runtimeFilesOf(dataDir)))
  }
  return found.map((what) => ({ invariant: 'nothing is left', what }))
}

/** Those allowed and what they have started; but whatever has to do with a pod should have ended with it. */
async function processesOf(dataDir: string, allowed: readonly number[]): Promise<string[]> {
  const { pods, podRun } = pathsFor(dataDir)
  const { processes } = await leftovers(dataDir)
  const left: string[] = []
  for (const line of processes) {
    const pid = Number(line.slice(0, line.indexOf(' ')))
    if (allowed.includes(pid)) continue
    const isOfPod = [pods, podRun].some((folder) => line.includes(folder))
    if (isOfPod || !(await descends(pid, allowed))) left.push(`process ${line}`)
  }
  return left
}

async function descends(pid: number, from: readonly number[]): Promise<boolean> {
  for (let one = pid; one > 1; ) {
    if (from.includes(one)) return true
    const parent = await parentOf(one)
    // It has ended in the meantime, and is not left.
    if (parent === undefined) return true
    one = parent
  }
  return false
}

async function filesOf(dataDir: string): Promise<string[]> {
  const lists = TRANSIENT.map(async (folder) => {
    const names = await readdir(join(dataDir, folder)).catch(() => [])
    return names.map((name) => `file ${join(dataDir, folder, name)}`)
  })
  return (await Promise.all(lists)).flat()
}

/** Of builders. One that was overtaken by another worker's may lie until the next round; one of no good build may not. */
async function disksOf(dataDir: string, mayBe: ReadonlySet<string>): Promise<string[]> {
  const { builders } = pathsFor(dataDir)
  const files = await readdir(builders, { recursive: true, withFileTypes: true }).catch(() => [])
  return files
    .filter((file) => file.isFile() && !mayBe.has(file.name))
    .map(({ parentPath, name }) => `disk of a builder ${join(parentPath, name)}`)
}

const ofRepositories = (repositories: Repositories) =>
  [...repositories.values()].flatMap(({ dir, stale }) =>
    stale.map((name) => `file ${join(dir, name)}`),
  )

async function runtimeFilesOf(dataDir: string): Promise<string[]> {
  const { run } = pathsFor(dataDir)
  const entries = await readdir(run, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const kind = entry.isSocket() ? 'socket' : 'file'
      return `${kind} ${join(entry.parentPath, entry.name)}`
    })
}
