// The default database: a real PostgreSQL under the data folder, on a unix socket in a private folder.
// It dies with the server (parent-death signal); one that outlived its server is stopped before a new start.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import pg from 'pg'
import type { UserIds } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'

const START_DEADLINE_MS = 30_000
const STOP_DEADLINE_MS = 15_000
const DATABASE = 'hypeman'

export interface EmbeddedOptions {
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

export interface Embedded {
  url: string
  stop(): Promise<void>
}

export function embeddedUrl(socketDir: string, database = DATABASE): string {
  return `postgres://hypeman@localhost/${database}?host=${encodeURIComponent(socketDir)}`
}

export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { dataDir, socketDir, user } = options
  for (const dir of [dataDir, socketDir]) {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await chmod(dir, 0o700)
    if (user) await chown(dir, user.uid, user.gid)
  }
  await stopLeftover(dataDir)
  if (!(await exists(join(dataDir, 'PG_VERSION')))) await initialise(options)
  const child = launch(options)
  try {
    await untilReady(child, socketDir)
    await ensureDatabase(socketDir)
  } catch (error) {
    child.kill('SIGINT')
    throw error
  }
  return { url: embeddedUrl(socketDir), stop: () => stopChild(child) }
}

function asUser(options: EmbeddedOptions): string[] {
  const { user } = options
  const who = user ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'] : []
  // SIGINT is PostgreSQL's fast shutdown.
  return [...who, '--no-new-privs', '--pdeathsig', 'INT', '--']
}

const CLEAN_ENV = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

async function initialise(options: EmbeddedOptions): Promise<void> {
  const { binDir, setpriv, dataDir } = options
  const initdb = [join(binDir, 'initdb'), '-D', dataDir, '-U', 'hypeman', '-A', 'trust']
  const args = [...asUser(options), ...initdb, '-E', 'UTF8', '--locale=C', '--no-sync']
  await execa(setpriv, args, { env: CLEAN_ENV, extendEnv: false, cwd: '/', timeout: 120_000 })
}

function launch(options: EmbeddedOptions): ChildProcess {
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
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n')) if (line) log.debug({ line }, 'postgres')
  })
  return child
}

async function untilReady(child: ChildProcess, socketDir: string): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS
  let last = 'no answer'
  while (Date.now() < deadline) {
    if (child.exitCode !== null) break
    try {
      await withClient(socketDir, 'postgres', (client) => client.query('select 1'))
      return
    } catch (error) {
      last = (error as Error).message
      await sleep(20)
    }
  }
  throw new Error(
    `embedded PostgreSQL did not start (exit ${child.exitCode ?? 'none'}): ${last}. ` +
      'Start with LOG_LEVEL=debug to see its output.',
  )
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

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGINT')
  const force = setTimeout(() => child.kill('SIGQUIT'), STOP_DEADLINE_MS)
  await gone
  clearTimeout(force)
}

/** Ends a PostgreSQL of a dead server: the pid of its own pid file, if that still is a postgres of ours. */
async function stopLeftover(dataDir: string): Promise<void> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')
  const pid = Number(text.split('\n')[0])
  if (!pid) return
  const isOurs = async () =>
    (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(dataDir)
  const deadline = Date.now() + STOP_DEADLINE_MS
  while (await isOurs()) {
    process.kill(pid, Date.now() < deadline ? 'SIGINT' : 'SIGQUIT')
    await sleep(100)
  }
  await rm(join(dataDir, 'postmaster.pid'), { force: true })
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
