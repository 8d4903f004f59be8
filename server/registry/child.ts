// CNCF distribution as a child on a unix socket in a private folder. It dies with the server and is started
// again when it ends by itself.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../telemetry/log.ts'
import { requestUpstream } from './upstream.ts'

const START_DEADLINE_MS = 15_000
const RESTART_DELAY_MS = 500
const STOP_GRACE_MS = 5_000

export interface RegistryOptions {
  binary: string
  setpriv: string
  dataDir: string
  runDir: string
  log: Log
}

export interface RegistryChild {
  socketPath: string
  stop(): Promise<void>
}

export async function startRegistry(options: RegistryOptions): Promise<RegistryChild> {
  const { dataDir, runDir, log } = options
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await mkdir(runDir, { recursive: true, mode: 0o700 })
  const socketPath = join(runDir, 'registry.sock')
  const configFile = join(runDir, 'registry.json')
  await writeFile(configFile, JSON.stringify(settings(dataDir, socketPath)), { mode: 0o600 })
  let stopped = false
  let child = await launch(options, configFile, socketPath)

  function watch(): void {
    child.once('exit', (code, signal) => {
      if (stopped) return
      log.error({ code, signal }, 'registry ended; starting it again')
      void restart()
    })
  }

  async function restart(): Promise<void> {
    while (!stopped) {
      await sleep(RESTART_DELAY_MS)
      if (stopped) return
      try {
        child = await launch(options, configFile, socketPath)
        watch()
        return
      } catch (error) {
        log.error({ err: (error as Error).message }, 'registry does not start; will retry')
      }
    }
  }

  watch()
  return {
    socketPath,
    async stop() {
      stopped = true
      await end(child)
    },
  }
}

/** distribution reads YAML, of which JSON is a part. */
function settings(dataDir: string, socketPath: string) {
  return {
    version: 0.1,
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: dataDir }, delete: { enabled: true } },
    http: {
      net: 'unix',
      addr: socketPath,
      relativeurls: true,
      secret: randomBytes(24).toString('hex'),
    },
  }
}

async function launch(
  { binary, setpriv, log }: RegistryOptions,
  configFile: string,
  socketPath: string,
): Promise<ChildProcess> {
  await rm(socketPath, { force: true })
  const args = ['--no-new-privs', '--pdeathsig', 'KILL', '--', binary, 'serve', configFile]
  const child = spawn(setpriv, args, {
    env: { PATH: '/usr/bin:/bin', OTEL_TRACES_EXPORTER: 'none' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let tail = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-2000)
    log.debug({ line: text.trimEnd() }, 'registry')
  })
  const deadline = Date.now() + START_DEADLINE_MS
  while (Date.now() < deadline && child.exitCode === null) {
    if (await answers(socketPath)) return child
    await sleep(25)
  }
  await end(child)
  throw new Error(`the registry did not start: ${tail || 'no output'}`)
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const upstream = { kind: 'socket' as const, socketPath }
    const request = requestUpstream(upstream, { method: 'GET', path: '/v2/', headers: {} })
    request.once('error', () => resolve(false))
    request.once('response', (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    request.end()
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS)
  await gone
  clearTimeout(force)
}
