// BuildKit's daemon: started by the agent itself (the daemonless script gives up too early), ready when it serves,
// its own log kept as a short tail for diagnosis.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { BASE_ENV, setOomScore, stopChild } from './children.ts'
import { environment } from './environment.ts'
import {
  BUILDKITD_LOG_LINES_MAX,
  BUILDKITD_POLL_MS,
  BUILDKITD_READY_DEADLINE_MS,
} from './limits.ts'
import type { BuildConfig } from './protocol.ts'
import { proxyEnv } from './proxy.ts'

/** Less willing to be killed than anything a step starts, but its children inherit it, so not exempt. */
const OOM_SCORE = -500
const MB = 1_000_000

export interface Buildkitd {
  readonly socket: string
  /** Resolves when it serves; rejects with the end of its log when it ends or is too late. */
  ready(): Promise<void>
  isAlive(): boolean
  /** The last lines it logged. */
  tail(): string[]
  /** False when it had to be killed. */
  stop(graceMs?: number): Promise<boolean>
}

export interface BuildkitdOptions {
  config: BuildConfig
  /** Private folder on tmpfs for socket and configuration. */
  runFolder: string
  cpus: number
  /** Certificates it trusts; undefined: the system's. */
  caFile?: string | undefined
}

export function startBuildkitd({ config, runFolder, cpus, caFile }: BuildkitdOptions): Buildkitd {
  mkdirSync(runFolder, { recursive: true, mode: 0o700 })
  const socket = `${runFolder}/buildkitd.sock`
  const toml = `${runFolder}/buildkitd.toml`
  const rootless = !environment.ownKernel
  writeFileSync(toml, buildkitdToml(config, { socket, cpus, rootless }), { mode: 0o600 })
  const child = spawn('buildkitd', ['--config', toml], {
    env: {
      ...BASE_ENV,
      ...logLimits(),
      ...proxyEnv(config),
      ...(caFile === undefined ? {} : { SSL_CERT_FILE: caFile }),
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  if (child.pid !== undefined) setOomScore(child.pid, OOM_SCORE)
  const lines = keepTail(child)
  let failure: Error | undefined
  child.on('error', (error) => {
    failure = error
  })

  const isAlive = () => !failure && child.exitCode === null && child.signalCode === null
  async function ready(): Promise<void> {
    // Counted, not timed: the clock of an emulated guest may leap by minutes.
    let call = callServer(socket)
    try {
      for (let polls = 0; call.state() !== 'serves'; polls += 1) {
        if (!isAlive()) {
          const how = failure?.message ?? child.signalCode ?? `exit code ${child.exitCode}`
          throw new Error(`buildkitd ended at its start (${how}): ${lastWords(lines)}`)
        }
        if (polls * BUILDKITD_POLL_MS > BUILDKITD_READY_DEADLINE_MS) {
          throw new Error(`buildkitd was not ready after ${BUILDKITD_READY_DEADLINE_MS / 1000} s`)
        }
        await sleep(BUILDKITD_POLL_MS)
        if (call.state() === 'refused') call = callServer(socket)
      }
    } finally {
      call.end()
    }
  }
  return {
    socket,
    ready,
    isAlive,
    tail: () => [...lines],
    stop: (graceMs) => stopChild(child, graceMs),
  }
}

/** What the daemon calls itself, for provenance. */
export async function buildkitVersion(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('buildkitd', ['--version'], { env: BASE_ENV })
    return /\bv\d+\.\d+\.\S+/.exec(stdout)?.[0] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

/** The registry's public name is a mirror of its tunnel, so a FROM of it works and stays inside; so are others. */
export function buildkitdToml(
  config: BuildConfig,
  { socket, cpus, rootless }: { socket: string; cpus: number; rootless: boolean },
): string {
  const { registry_url: tunnel, registry_public_name: name } = config
  const own: [string, string][] = name === tunnel ? [] : [[name, tunnel]]
  const others = (config.registry_mirrors ?? []).map((host) => [host, `${tunnel}/mirror/${host}`])
  const mirrors = [...own, ...others].map(
    ([host = '', path = '']) => `[registry.${quote(host)}]\nmirrors = [${quote(path)}]\n`,
  )
  return `root = "/var/lib/buildkit"
[grpc]
address = [${quote(`unix://${socket}`)}]
[worker.containerd]
enabled = false
[worker.oci]
enabled = true
rootless = ${rootless}
snapshotter = "overlayfs"
networkMode = "host"
${collectorOf(config)}
max-parallelism = ${Math.max(2, cpus)}
[history]
maxEntries = 1
[registry.${quote(tunnel)}]
http = true
${mirrors.join('')}`
}

/**
 * A builder's disk must not fill up with what earlier builds left, so a build that goes on for longer than a
 * minute, which is when the daemon begins to collect, gets the room back. A disk of the build's own has nothing
 * to give.
 */
function collectorOf({ cache_disk: disk }: BuildConfig): string {
  if (!disk) return 'gc = false'
  return `gc = true\ngcpolicy = [{ all = true, maxUsedSpace = ${disk.max_used_mb * MB} }]`
}

/** The daemon would clip a step's output at 2 MiB and 200 KiB/s; the host has its own cap, and says so. */
function logLimits(): Record<string, string> {
  return { BUILDKIT_STEP_LOG_MAX_SIZE: '-1', BUILDKIT_STEP_LOG_MAX_SPEED: '-1' }
}

function quote(text: string): string {
  return JSON.stringify(text)
}

/** What it said when it ended, without what it logs all the time. */
function lastWords(lines: readonly string[]): string {
  const telling = lines.filter((line) => !/ level=(?:info|warning) /.test(line))
  return (telling.length > 0 ? telling : lines).slice(-3).join(' | ')
}

function keepTail(child: ChildProcess): string[] {
  const lines: string[] = []
  createInterface({ input: child.stderr! }).on('line', (line) => {
    lines.push(line.slice(0, 1_000))
    if (lines.length > BUILDKITD_LOG_LINES_MAX) lines.shift()
  })
  return lines
}

/**
 * Its socket takes connections before it has opened its state, and may still end over that; only when it serves does
 * it answer in HTTP/2.
 */
export function callServer(socket: string) {
  let state: 'waits' | 'serves' | 'refused' = 'waits'
  const refused = () => {
    if (state === 'waits') state = 'refused'
  }
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socket) })
  session.once('remoteSettings', () => {
    state = 'serves'
  })
  session.on('error', refused)
  session.on('close', refused)
  return { state: () => state, end: () => session.destroy() }
}
