// The hosted repositories as plain git sees them.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { AppFact } from './facts.ts'

export interface Repository {
  dir: string
  /** What each ref names; of an annotated tag the commit. */
  refs: ReadonlyMap<string, string>
  /** What git has to say against it. */
  faults: string[]
  /** Files of processes that died: locks nobody gives back, packs nobody took. */
  stale: string[]
}

const QUARANTINE = /^tmp_(objdir-|pack_|idx_|rev_|obj_)/

/** By the ids of their apps. */
export type Repositories = ReadonlyMap<string, Repository>

export async function readRepositories(
  root: string,
  apps: readonly AppFact[],
): Promise<Repositories> {
  const read = apps.map(
    async ({ id }) => [id, await readRepository(join(root, `${id}.git`))] as const,
  )
  return new Map(await Promise.all(read))
}

async function readRepository(dir: string): Promise<Repository> {
  const listed = await git(dir, [
    'for-each-ref',
    '--format=%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)',
  ])
  const lines = listed.stdout.split('\n').filter((line) => line !== '')
  const refs = new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      line.slice(line.lastIndexOf(' ') + 1),
    ]),
  )
  const fsck = await git(dir, ['fsck', '--connectivity-only', '--no-dangling', '--no-progress'])
  const faults = [listed, fsck].flatMap((result) =>
    result.exitCode === 0 ? [] : [`${result.stderr}\n${result.stdout}`.trim()],
  )
  return { dir, refs, faults, stale: await staleIn(dir) }
}

/** Whether a file is in a commit. */
export async function hasFile(dir: string, commit: string, path: string): Promise<boolean> {
  const found = await git(dir, ['ls-tree', '-z', '--full-tree', commit, '--', path])
  return found.exitCode === 0 && /^\d+ blob /.test(found.stdout)
}

async function staleIn(dir: string): Promise<string[]> {
  const files = await readdir(dir, { recursive: true }).catch(() => [])
  return files.filter((file) => {
    const name = file.slice(file.lastIndexOf('/') + 1)
    return name.endsWith('.lock') || QUARANTINE.test(name)
  })
}

function git(dir: string, args: string[]) {
  // The repository belongs to the git user.
  const trusted = ['-c', 'safe.directory=*', '--git-dir', dir, '--literal-pathspecs']
  const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', LC_ALL: 'C.UTF-8' }
  return execa('git', [...trusted, ...args], { reject: false, env, timeout: 120_000 })
}
