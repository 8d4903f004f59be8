// How the server runs git: as the unprivileged git user, with a clean environment and settings of its own.
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { PACK_BYTES_MAX } from '../limits.ts'
import type { UserIds } from '../setup/users.ts'
import { BUILD_TAGS } from './build-tags.ts'
import { shellWord } from './shell-word.ts'

const GIT_DEADLINE_MS = 60_000
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
const STDERR_BYTES_MAX = 64 * 1024
const HOOKS = fileURLToPath(new URL('../../hooks', import.meta.url))
const HOOK_FILES = ['pre-receive', 'proc-receive', 'post-receive', 'server.sh', 'gate.cjs']
/**
 * Of the repository's path, for a push whose refs pass through proc-receive: the path is all that the library
 * hands to git. Other pushes do not pay for that hook.
 */
export const GATED_SUFFIX = '/.'

/** The server's tags are not shown to a push: `git push --mirror` would try to delete them. */
const HIDDEN = `-c receive.hideRefs=${BUILD_TAGS.slice(0, -1)}`

export interface GitUserOptions {
  setpriv: string
  /** null = run as the caller. */
  user: UserIds | null
  /** Node that the git user can execute, for the hook of gated pushes. */
  node: string
  /** Folder the git user can walk; gets hooks, launchers and an empty home. */
  staged: string
  packBytesMax?: number | undefined
}

export interface GitStream {
  stdout: Readable
  /** Never rejects. */
  done: Promise<{ exitCode?: number | undefined; stderr: string }>
}

export type GitUser = Awaited<ReturnType<typeof createGitUser>>

export async function createGitUser(options: GitUserOptions) {
  const { setpriv, user, staged } = options
  const who = user
    ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--inh-caps=-all']
    : []
  const prefix = [setpriv, ...who, '--no-new-privs', '--', 'git']
  const env = environment(options)
  await stageHooks(staged)
  await stageLaunchers(join(staged, 'bin'), prefix, env)

  return {
    user,
    /** Holds `git-receive-pack` and `git-upload-pack` as the library spawns them by name. */
    launcherDir: join(staged, 'bin'),

    /** Runs one git command to its end; throws with git's own words. */
    async run(args: string[], extra: { cwd?: string; input?: string } = {}): Promise<string> {
      const [command = '', ...rest] = prefix
      const result = await execa(command, [...rest, ...args], {
        ...extra,
        env,
        extendEnv: false,
        timeout: GIT_DEADLINE_MS,
        maxBuffer: OUTPUT_BYTES_MAX,
        cwd: extra.cwd ?? '/',
      })
      return result.stdout
    },

    /** A git command whose output is streamed; ended by the signal, or by the reader's leaving. */
    stream(args: string[], signal: AbortSignal): GitStream {
      const [command = '', ...rest] = prefix
      const child = execa(command, [...rest, ...args], {
        env,
        extendEnv: false,
        cwd: '/',
        buffer: { stdout: false, stderr: true },
        maxBuffer: STDERR_BYTES_MAX,
        cancelSignal: signal,
        reject: false,
      })
      const stdout = new PassThrough()
      // At once: execa throws away what nobody reads in the first moment.
      pipeline(child.stdout, stdout).catch(() => {}) // the reader meets the error on `stdout`
      return { stdout, done: child }
    },
  }
}

function environment(options: GitUserOptions): Record<string, string> {
  const { node, staged, packBytesMax = PACK_BYTES_MAX } = options
  const settings = {
    'core.hooksPath': join(staged, 'hooks'),
    'core.logAllRefUpdates': 'true',
    'receive.advertisePushOptions': 'true',
    'receive.maxInputSize': String(packBytesMax),
    'transfer.fsckObjects': 'true',
    // Old histories have these; they harm nobody.
    'receive.fsck.zeroPaddedFilemode': 'warn',
    'receive.fsck.missingSpaceBeforeDate': 'warn',
    'receive.autogc': 'false',
    'receive.shallowUpdate': 'true',
    'receive.denyDeleteCurrent': 'ignore', // deletions are decided by pre-receive, with a reason
    'gc.auto': '0',
    // Last: only the launcher of a gated push counts so far.
    'receive.procReceiveRefs': 'refs',
  }
  const entries = Object.entries(settings)
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    LC_ALL: 'C.UTF-8',
    HOME: join(staged, 'home'),
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_LITERAL_PATHSPECS: '1',
    GIT_CONFIG_COUNT: String(entries.length - 1),
    ...Object.fromEntries(entries.map(([name], i) => [`GIT_CONFIG_KEY_${i}`, name])),
    ...Object.fromEntries(entries.map(([, value], i) => [`GIT_CONFIG_VALUE_${i}`, value])),
    HYPEMAN_NODE: node,
  }
}

async function stageHooks(staged: string): Promise<void> {
  for (const dir of ['', 'hooks', 'home', 'bin']) {
    await mkdir(join(staged, dir), { recursive: true })
    await chmod(join(staged, dir), 0o755)
  }
  for (const name of HOOK_FILES) {
    await stage(join(staged, 'hooks', name), await readFile(join(HOOKS, name)))
  }
}

/** The library starts git by name and with our environment; the launcher changes both, and keeps the pid. */
async function stageLaunchers(
  dir: string,
  prefix: string[],
  env: Record<string, string>,
): Promise<void> {
  const assignments = Object.entries(env).map(([name, value]) => shellWord(`${name}=${value}`))
  for (const service of ['receive-pack', 'upload-pack']) {
    const words = [
      'exec env -i',
      ...assignments,
      '$gate',
      ...prefix.map(shellWord),
      '$hide',
      service,
      '"$@"',
      // The way of the hooks to the server, see hook-lines.ts; git passes it on.
      ...(service === 'receive-pack' ? ['3>&2'] : []),
    ]
    const count = `GIT_CONFIG_COUNT=${Number(env.GIT_CONFIG_COUNT) + 1}`
    const gate = `gate=; case "$2" in *${GATED_SUFFIX}) gate=${count} ;; esac`
    // The library reads the errors of no advertisement, and git would wait for a reader after 64 KiB.
    const advertising = `hide=; case "$*" in *--advertise-refs*) hide='${HIDDEN}'; exec 2>/dev/null ;; esac`
    await stage(
      join(dir, `git-${service}`),
      `#!/bin/sh\n${advertising}\n${gate}\n${words.join(' ')}\n`,
    )
  }
}

/** Replaced in one step: a push that is under way may start it at any moment. */
async function stage(target: string, content: string | Buffer): Promise<void> {
  const next = `${target}.next`
  await writeFile(next, content)
  await chmod(next, 0o755)
  await rename(next, target)
}
