// CNCF distribution as a child on a unix socket in a private folder. It dies with the server and is started
// again when it ends by itself.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readGenerated } from '../auth/secret.ts'
import { REGISTRY_START_DEADLINE_MS } from '../limits.ts'
import { type Child, type Supervised, supervise } from '../supervise.ts'
import type { Log } from '../telemetry/log.ts'
import { createOwnRegistry, type OwnRegistry } from './own/own-registry.ts'
import { openUpstream } from './upstream.ts'

const POLL_MS = 25
const RESTART_DELAY_MS = 500
const STOP_GRACE_MS = 5_000
const OUTPUT_CHARACTERS_KEPT = 2_000

export interface RegistryOptions {
  binary: string
  setpriv: string
  dataDir: string
  runDir: string
  log: Log
}

export interface RegistryChild extends Supervised {
  socketPath: string
  /** The way to it. */
  upstream: OwnRegistry
}

interface Running extends Child {
  /** The last it wrote to stderr. */
  output(): string
}

/** Rejects, leaving nothing behind, when the first start fails; later ones are tried until stop(). */
export async function startRegistry(options: RegistryOptions): Promise<RegistryChild> {
  const { dataDir, runDir, log } = options
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await mkdir(runDir, { recursive: true, mode: 0o700 })
  const socketPath = join(runDir, 'registry.sock')
  const configFile = join(runDir, 'registry.json')
  const newSecret = () => randomBytes(24).toString('hex')
  const secret = await readGenerated(join(dataDir, 'upload-secret'), newSecret)
  const config = JSON.stringify(settings({ dataDir, socketPath, secret }))
  await writeFile(configFile, config, { mode: 0o600 })
  const upstream = createOwnRegistry({ socketPath, dataDir })
  const removeRunDir = () => rm(runDir, { recursive: true, force: true })
  const child = await supervise({
    name: 'registry',
    log,
    launch: (signal) => launchRegistry(options, { configFile, upstream, signal }),
    end,
    delayMs: RESTART_DELAY_MS,
    delayMaxMs: RESTART_DELAY_MS,
  }).catch(async (error) => {
    await removeRunDir()
    throw error
  })
  return {
    socketPath,
    upstream,
    pid: child.pid,
    async stop() {
      await child.stop()
      await removeRunDir()
    },
  }
}

/** distribution reads YAML, of which JSON is a part. */
function settings({ dataDir, socketPath, secret }: Record<string, string>) {
  return {
    version: 0.1,
    log: { level: 'warn', accesslog: { disabled: true } },
    // No cache of what is there: the garbage collection changes it behind the program's back. And it is the
    // one that removes uploads which nobody goes on with.
    storage: {
      filesystem: { rootdirectory: dataDir },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    // Layers that are only linked: whoever pulls the image gets them there. See manifest-links.ts.
    validation: { manifests: { urls: { allow: ['^https?://'] } } },
    http: {
      net: 'unix',
      addr: socketPath,
      relativeurls: true,
      // Signs the state of uploads; kept beside them, so that they outlive child and server.
      secret,
    },
  }
}

async function launchRegistry(
  { binary, setpriv, log }: RegistryOptions,
  place: { configFile: string; upstream: OwnRegistry; signal: AbortSignal },
): Promise<Running> {
  const { configFile, upstream, signal } = place
  await rm(upstream.socketPath, { force: true })
  const running = run({ binary, setpriv, log }, configFile)
  let how: string | undefined
  void running.ended.then((text) => {
    how = text
  })
  const deadline = performance.now() + REGISTRY_START_DEADLINE_MS
  while (how === undefined && performance.now() < deadline && !signal.aborted) {
    if (await answers(upstream)) return running
    await sleep(POLL_MS)
  }
  await end(running)
  const reason = how ?? `no answer within ${REGISTRY_START_DEADLINE_MS / 1000} s`
  throw new Error(`the registry ${binary} did not start: ${reason}. ${running.output()}`.trim())
}

function run(
  { binary, setpriv, log }: Pick<RegistryOptions, 'binary' | 'setpriv' | 'log'>,
  configFile: string,
): Running {
  const args = ['--no-new-privs', '--pdeathsig', 'KILL', '--', binary, 'serve', configFile]
  const child = spawn(setpriv, args, {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', OTEL_TRACES_EXPORTER: 'none' },
    stdio: ['ignore', 'ignore', 'pipe'],
    // A Ctrl-C of the terminal is for the server, which stops its children in order.
    detached: true,
  })
  let tail = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-OUTPUT_CHARACTERS_KEPT)
    log.debug({ line: text.trimEnd() }, 'registry')
  })
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve(error.message)
    })
    child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`))
  })
  return { process: child, ended, output: () => tail }
}

async function answers(upstream: OwnRegistry): Promise<boolean> {
  const signal = AbortSignal.timeout(1_000)
  try {
    const reply = await openUpstream(upstream, { method: 'GET', path: '/v2/', headers: {}, signal })
    reply.resume()
    return reply.statusCode === 200
  } catch {
    return false // not yet
  }
}

async function end({ process: child, ended }: Running): Promise<void> {
  child.kill('SIGTERM')
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS)
  await ended
  clearTimeout(force)
}
