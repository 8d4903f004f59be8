// A real git client with a work tree of its own, and what its terminal shows with the time of each line.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, cp, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { removeFolder } from './folders.ts'

export const CLEAN = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_AUTHOR_NAME: 'Ada',
  GIT_AUTHOR_EMAIL: 'ada@example.invalid',
  GIT_COMMITTER_NAME: 'Ada',
  GIT_COMMITTER_EMAIL: 'ada@example.invalid',
}

export interface PushedLine {
  text: string
  /** Milliseconds since the push began. */
  atMs: number
}

export interface PushResult {
  exitCode: number | null
  /** Without `remote: ` and trailing blanks. */
  lines: PushedLine[]
  text: string
  buildId: string | undefined
}

export interface RunningPush {
  child: ChildProcess
  lines: PushedLine[]
  done: Promise<PushResult>
  /** Ctrl-C, as a terminal sends it: to git and its helpers alike. */
  interrupt(signal?: NodeJS.Signals): void
  /** Resolves with the first line that matches, also one that came before. */
  line(pattern: RegExp): Promise<PushedLine>
}

export interface Repo {
  dir: string
  git(...args: string[]): Promise<string>
  write(file: string, content: string): Promise<void>
  commit(message?: string): Promise<string>
  push(remote: string, ...refs: string[]): Promise<PushResult>
  startPush(remote: string, ...refs: string[]): RunningPush
}

/** A repository of the test's own; see makeRepo. */
export async function givenRepo(t: TestContext, fixture?: string): Promise<Repo> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-repo-'))
  t.after(() => removeFolder(dir))
  return makeRepo(dir, fixture)
}

/** In an empty folder: a fixture app (with a static busybox beside it), committed on main. */
export async function makeRepo(dir: string, fixture?: string): Promise<Repo> {
  const git = async (...args: string[]) =>
    (await execa('git', args, { cwd: dir, env: CLEAN })).stdout

  const startPush = (remote: string, ...refs: string[]): RunningPush => {
    const child = spawn('git', ['push', remote, ...refs], {
      cwd: dir,
      env: { ...process.env, ...CLEAN },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    })
    return watch(child)
  }

  const repo: Repo = {
    dir,
    git,
    write: (file, content) => writeFile(join(dir, file), content),
    async commit(message = 'change') {
      await git('add', '-A')
      await git('commit', '--quiet', '--allow-empty', '-m', message)
      return git('rev-parse', 'HEAD')
    },
    startPush,
    push: (remote, ...refs) => startPush(remote, ...refs).done,
  }
  await git('init', '--quiet', '--initial-branch=main')
  if (fixture) {
    const source = fileURLToPath(new URL(`../fixtures/${fixture}`, import.meta.url))
    await cp(source, dir, { recursive: true })
    await copyFile('/bin/busybox', join(dir, 'busybox'))
    await repo.commit(fixture)
  }
  return repo
}

/** `http://user:<token>@host/path`. */
export function remoteUrl(base: string, token: string, path: string): string {
  const url = new URL(path, base)
  url.username = 'git'
  url.password = token
  return url.href
}

function watch(child: ChildProcess): RunningPush {
  const started = Date.now()
  const lines: PushedLine[] = []
  const waiting: { pattern: RegExp; resolve: (line: PushedLine) => void }[] = []
  const reader = createInterface({ input: child.stderr! })
  reader.on('line', (raw) => {
    const text = raw.replace(/^remote: ?/, '').trimEnd()
    const line = { text, atMs: Date.now() - started }
    lines.push(line)
    for (const entry of waiting) if (entry.pattern.test(text)) entry.resolve(line)
  })
  const closed = once(reader, 'close')
  const done = once(child, 'exit').then(async ([exitCode]) => {
    await closed
    const text = lines.map((line) => line.text).join('\n')
    const buildId = /-----> Build ([a-z0-9]+) queued/.exec(text)?.[1]
    return { exitCode: exitCode as number | null, lines, text, buildId }
  })
  return {
    child,
    lines,
    done,
    interrupt(signal = 'SIGINT') {
      try {
        if (child.pid) process.kill(-child.pid, signal)
      } catch (error) {
        // It has ended by itself in the meantime.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    },
    line(pattern) {
      const known = lines.find(({ text }) => pattern.test(text))
      if (known) return Promise.resolve(known)
      return new Promise((resolve, reject) => {
        waiting.push({ pattern, resolve })
        done.then(
          ({ text }) => reject(new Error(`the push ended without ${pattern}:\n${text}`)),
          reject,
        )
      })
    },
  }
}
