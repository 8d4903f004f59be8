// The two clients that every machine with this project has: the installed git, and isomorphic-git.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import isomorphic from 'isomorphic-git'
import http from 'isomorphic-git/http/node'
import { follow, type GitClient, type PushOrder, type Verdict } from './git-clients.ts'
import { CLEAN } from './repo.ts'

/** Asked as git asks every credential helper, so that no password is in an argument. */
const HELPER =
  '!f() { test "$1" = get && echo "username=$HM_USER" && echo "password=$HM_PASSWORD"; }; f'

/** The installed git; `settings` are `-c` settings, `flags` further arguments of `git push`. */
export function gitClient(
  settings: readonly string[] = [],
  flags: readonly string[] = [],
): GitClient {
  const run = async (order: PushOrder, say: (text: string) => void): Promise<Verdict> => {
    const configured = [`credential.helper=${HELPER}`, ...settings].flatMap((one) => ['-c', one])
    const options = (order.options ?? []).flatMap((option) => ['-o', option])
    const args = ['push', '--porcelain', ...flags, ...options, order.url, order.refspec]
    const child = spawn('git', [...configured, ...args], {
      cwd: order.dir,
      env: { ...process.env, ...CLEAN, HM_USER: order.user, HM_PASSWORD: order.password },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text
      // git overwrites what stood on the terminal's line with spaces.
      say(text.replace(/^remote: ?/gm, '').replace(/ {8}$/gm, ''))
    })
    let status = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      status += text
    })
    const [code] = await once(child, 'close')
    const [, reason] = /^!\t[^\t]*\t(.*)$/m.exec(status) ?? []
    return { ok: code === 0, reason: reason ?? (code === 0 ? '' : errors) }
  }
  const name = ['git', ...settings, ...flags].join(' ')
  return { name, sendsOptions: true, push: (order) => follow((say) => run(order, say)) }
}

export const isomorphicGit: GitClient = {
  name: `isomorphic-git ${isomorphic.version()}`,
  sendsOptions: false,
  push: (order) =>
    follow(async (say) => {
      const { dir, url, user, password, refspec } = order
      const [source = '', remoteRef = ''] = refspec.replace(/^\+/, '').split(':')
      const isDeletion = source === ''
      try {
        await isomorphic.push({
          fs,
          http,
          dir,
          url,
          remoteRef,
          ref: isDeletion ? 'refs/heads/main' : source,
          delete: isDeletion,
          force: refspec.startsWith('+'),
          onAuth: () => ({ username: user, password }),
          onMessage: (line) => say(line),
        })
        return { ok: true, reason: '' }
      } catch (error) {
        return { ok: false, reason: reasonOf(error) }
      }
    }),
}

function reasonOf(error: unknown): string {
  const { message, data } = error as Error & { data?: { response?: string } }
  return [message, data?.response ?? ''].join('\n')
}
