// One process of PostgreSQL over a data folder: made ready, launched, asked whether it answers, stopped.
import { spawn } from 'node:child_process'
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import pg from 'pg'
import { asError } from '../errors.ts'
import type { UserIds } from '../setup/users.ts'
import type { Child } from '../supervise.ts'
import type { Log } from '../telemetry/log.ts'

const START_DEADLINE_MS = 30_000
const STOP_DEADLINE_MS = 15_000
const READY_POLL_MS = 20
const RETRY_MS = 200
/** Processes of one that was killed end a moment after it, and until then nobody else may have its data. */
const STILL_IN_USE = 'pre-existing shared memory block'
const OUTPUT_CHARACTERS_KEPT = 2_000
const DATABASE = 'hypeman'

export interface PostgresOptions {
  /** Folder with initdb and postgres, reachable by the user below. */
  binDir: string
  setpriv: string
  dataDir: string
  /** Folder for the socket; made private to the database user. */
  socketDir: string
  /** Unprivileged user to run as; null = the caller. */
  user: UserIds | null
  log: Log
  /** false trades durability for speed; tests only. */
  fsync?: boolean
}

export function embeddedUrl(socketDir: string, database = DATABASE): string {
  return `postgres://hypeman@localhost/${database}?host=${encodeURIComponent(socketDir)}`
}

/** Makes the cluster when there is none. */
export async function initialise(options: PostgresOptions): Promise<void> {
  const { binDir, setpriv, dataDir } = options
  if (await exists(join(dataDir, 'PG_VERSION'))) return
  const initdb = [join(binDir, 'initdb'), '-D', dataDir, '-U', 'hypeman', '-A', 'trust']
  const args = [...asUser(options), ...initdb, '-E', 'UTF8', '--locale=C', '--no-sync']
  await execa(setpriv, args, { env: CLEAN_ENV, extendEnv: false, cwd: '/', timeout: 120_000 })
}

/** Resolves when it answers and has our database. Rejects, leaving no process behind, when it does not. */
export async function launch(options: PostgresOptions, signal: AbortSignal): Promise<Child> {
  const deadline = performance.now() + START_DEADLINE_MS
  for (;;) {
    const { running, output } = run(options)
    try {
      await untilReady(running, { socketDir: options.socketDir, deadline, signal })
      await ensureDatabase(options.socketDir)
      return running
    } catch (error) {
      await end(running)
      const isInUse = output().includes(STILL_IN_USE)
      if (!isInUse || signal.aborted || performance.now() > deadline) {
        const reason = `${asError(error).message}. ${output()}`.trim()
        throw new Error(`PostgreSQL in ${options.dataDir} did not start: ${reason}`, {
          cause: error,
        })
      }
      await sleep(RETRY_MS)
    }
  }
}

/** Fast shutdown, and the immediate one when that takes too long. */
export async function end({ process: child, ended }: Child): Promise<void> {
  child.kill('SIGINT')
  const force = setTimeout(() => child.kill('SIGQUIT'), STOP_DEADLINE_MS)
  await ended
  clearTimeout(force)
}

/** Ends a PostgreSQL of a dead server: the pid of its own pid file, if that still is a postgres of ours. */
export async function stopLeftover(dataDir: string): Promise<void> {
  const pidFile = join(dataDir, 'postmaster.pid')
  const text = await readFile(pidFile, 'utf8').catch(() => '')
  const pid = Number(text.split('\n')[0])
  if (!pid) return
  const commandLine = () => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  const deadline = performance.now() + STOP_DEADLINE_MS
  while ((await commandLine()).includes(dataDir)) {
    process.kill(pid, performance.now() < deadline ? 'SIGINT' : 'SIGQUIT')
    await sleep(100)
  }
  // A new postgres takes the file of a dead one, once none of its processes is left; not that of a pid which
  // somebody else has by now.
  if ((await commandLine()) !== '') await rm(pidFile, { force: true })
}

function asUser({ user }: PostgresOptions): string[] {
  const who = user ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'] : []
  // SIGINT is PostgreSQL's fast shutdown.
  return [...who, '--no-new-privs', '--pdeathsig', 'INT', '--']
}

const CLEAN_ENV = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

function run(options: PostgresOptions): { running: Child; output: () => string } {
  const { binDir, setpriv, dataDir, socketDir, log } = options
  const settings = {
    listen_addresses: '',
    unix_socket_directories: socketDir,
    max_connections: '100',
    shared_buffers: '64MB',
    ...(options.fsync === false ? { fsync: 'off', synchronous_commit: 'off' } : {}),
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const args = [...asUser(options), join(binDir, 'postgres'), '-D', dataDir, ...flags]
  const child = spawn(setpriv, args, {
    env: CLEAN_ENV,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    // A Ctrl-C of the terminal is for the server, which stops its children in order.
    detached: true,
  })
  let tail = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-OUTPUT_CHARACTERS_KEPT)
    for (const line of text.split('\n')) if (line) log.debug({ line }, 'postgres')
  })
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve(error.message)
    })
    child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`))
  })
  return { running: { process: child, ended }, output: () => tail }
}

async function untilReady(
  { ended }: Child,
  { socketDir, deadline, signal }: { socketDir: string; deadline: number; signal: AbortSignal },
): Promise<void> {
  let how: string | undefined
  void ended.then((text) => {
    how = text
  })
  let last = 'no answer'
  while (performance.now() < deadline && how === undefined) {
    signal.throwIfAborted()
    try {
      await withClient(socketDir, 'postgres', (client) => client.query('select 1'))
      return
    } catch (error) {
      last = asError(error).message
      await sleep(READY_POLL_MS)
    }
  }
  throw new Error(how ?? last)
}

async function ensureDatabase(socketDir: string): Promise<void> {
  await withClient(socketDir, 'postgres', async (client) => {
    const found = await client.query('select 1 from pg_database where datname = $1', [DATABASE])
    if (found.rowCount === 0) await client.query(`create database ${DATABASE}`)
  })
}

async function withClient<T>(dir: string, database: string, use: (c: pg.Client) => Promise<T>) {
  const client = new pg.Client({ connectionString: embeddedUrl(dir, database) })
  client.on('error', () => {}) // the query that is under way reports it
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
