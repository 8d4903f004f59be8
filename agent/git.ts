// git as the agent runs it, on a repository nobody trusts: no configuration but ours, no protocol but https,
// no question to anybody, one proxy as the way out, and a bound for every file that it writes.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { BASE_ENV } from './children.ts'
import { FETCH_STALL_SECONDS, GIT_OUTPUT_BYTES_MAX } from './limits.ts'

const BLOCK_BYTES = 512
/** What a shell answers for a program that is not there. */
const NOT_THERE = 127

export interface GitOptions {
  /** Bare repository. */
  repo: string
  /** URL of the way out. */
  proxy: string
  /** Certificates that are trusted; undefined: the system's. */
  caFile?: string | undefined
  /** In the form of git's own credential store; given to the hosts that it names alone. */
  credentialsFile?: string | undefined
  fileBytesMax: number
  signal: AbortSignal
}

export interface Git {
  /** What it prints. Rejects with GitError, or with the signal's reason. */
  run(args: readonly string[]): Promise<string>
  /** What it prints as it comes; `done` rejects like run(). */
  stream(args: readonly string[]): { stdout: Readable; done: Promise<void> }
}

export class GitError extends Error {
  override name = 'GitError'
  readonly stderr: string
  /** There is no git in this builder image. */
  readonly isMissing: boolean

  constructor(exitCode: number | null, stderr: string) {
    super(`git ended with ${exitCode ?? 'a signal'}: ${stderr}`)
    this.stderr = stderr
    this.isMissing = exitCode === NOT_THERE
  }
}

export function createGit(options: GitOptions): Git {
  const { repo, fileBytesMax, signal } = options
  const env = gitEnv(options)
  const limit = String(Math.ceil(fileBytesMax / BLOCK_BYTES))

  function stream(args: readonly string[]): { stdout: Readable; done: Promise<void> } {
    // The shell becomes git; a file that grows beyond the limit ends whoever writes it.
    const script = ['sh', '-c', 'ulimit -f "$1"; shift; exec git "$@"', 'git', limit]
    const child = spawn('busybox', [...script, '--git-dir', repo, ...args], {
      cwd: '/',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const onAbort = () => endGroup(child)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-GIT_OUTPUT_BYTES_MAX)
    })
    const done = new Promise<void>((resolve, reject) => {
      child.once('error', () => reject(new GitError(NOT_THERE, 'there is no busybox')))
      child.once('close', (exitCode) => {
        signal.removeEventListener('abort', onAbort)
        if (signal.aborted) reject(signal.reason)
        else if (exitCode === 0) resolve()
        else reject(new GitError(exitCode, stderr))
      })
    })
    return { stdout: child.stdout, done }
  }

  return {
    stream,
    async run(args) {
      const { stdout, done } = stream(args)
      let printed = ''
      stdout.setEncoding('utf8').on('data', (text: string) => {
        printed = (printed + text).slice(0, GIT_OUTPUT_BYTES_MAX)
      })
      await done
      return printed.trimEnd()
    },
  }
}

/** With its helpers: git leaves them to themselves. */
function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

function gitEnv({ repo, proxy, caFile, credentialsFile }: GitOptions): NodeJS.ProcessEnv {
  const config: Record<string, string> = {
    'core.hooksPath': '/dev/null',
    // One pack, whose size is then the size of what came.
    'fetch.unpackLimit': '1',
    'gc.auto': '0',
    'maintenance.auto': 'false',
    'http.lowSpeedLimit': '1000',
    'http.lowSpeedTime': String(FETCH_STALL_SECONDS),
    ...(credentialsFile ? { 'credential.helper': `store --file=${credentialsFile}` } : {}),
  }
  const pairs = Object.entries(config).flatMap(([key, value], i) => [
    [`GIT_CONFIG_KEY_${i}`, key],
    [`GIT_CONFIG_VALUE_${i}`, value],
  ])
  return {
    ...BASE_ENV,
    HOME: repo,
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: 'https',
    https_proxy: proxy,
    ...(caFile === undefined ? {} : { GIT_SSL_CAINFO: caFile }),
    GIT_CONFIG_COUNT: String(Object.keys(config).length),
    ...Object.fromEntries(pairs),
  }
}
