// The submodules of a commit as git has them: the paths pinned in its tree, and the addresses in .gitmodules.
import type { GitUser } from './git-user.ts'

const GITLINK = /^160000 commit ([0-9a-f]{40,64})\t(.+)$/s
const SUBMODULE_KEY = /^submodule\.(.+)\.(path|url)$/s

export interface Gitlink {
  path: string
  commit: string
}

/** Throws git's own complaint, as when the signal ends it. */
export async function gitlinksOf(
  git: GitUser,
  repoPath: string,
  commit: string,
  signal: AbortSignal,
): Promise<Gitlink[]> {
  const args = ['-C', repoPath, 'ls-tree', '-r', '-z', '--full-tree', commit]
  const { stdout, done } = git.stream(args, signal)
  const links: Gitlink[] = []
  let rest = ''
  for await (const text of stdout.setEncoding('utf8')) {
    const entries = (rest + text).split('\0')
    rest = entries.pop() ?? ''
    for (const entry of entries) {
      const [, pinned, path] = GITLINK.exec(entry) ?? []
      if (pinned !== undefined && path !== undefined) links.push({ path, commit: pinned })
    }
  }
  const { exitCode, stderr } = await done
  if (exitCode !== 0) throw new Error(`git ls-tree ended with ${exitCode}: ${stderr}`)
  return links
}

/** Path → address. Throws git's own complaint about a file it can't read. */
export async function addressesOf(
  git: GitUser,
  repoPath: string,
  commit: string,
): Promise<Map<string, string>> {
  const args = ['config', '-z', '--blob', `${commit}:.gitmodules`, '--list']
  const text = await git.run(['-C', repoPath, ...args])
  const named = new Map<string, { path?: string; url?: string }>()
  for (const entry of text.split('\0')) {
    const [key = '', value = ''] = entry.split(/\n(.*)/s)
    const [, name, field] = SUBMODULE_KEY.exec(key) ?? []
    if (name !== undefined) named.set(name, { ...named.get(name), [field as 'path']: value })
  }
  const found = [...named.values()].flatMap(({ path, url }) =>
    path === undefined || url === undefined ? [] : [[path, url] as const],
  )
  return new Map(found)
}
