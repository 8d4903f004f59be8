// The agent's composition root: runs once in a fresh guest, builds one image, reports, ends. The daemon starts
// and the source is unpacked while the host is still dialling.
import { mkdirSync } from 'node:fs'
import { runBuild } from './build.ts'
import { type Channel, openChannel } from './channel.ts'
import { setOomScore } from './children.ts'
import { note, uptimeMs } from './clock.ts'
import { parseConfig, publishConfig, readConfigDevice } from './config.ts'
import { openEgressDoor } from './egress-door.ts'
import { environment } from './environment.ts'
import { HEARTBEAT_MS } from './limits.ts'
import { limitSteps } from './memory.ts'
import {
  type BuildConfig,
  type BuildResult,
  EGRESS_PORT,
  LISTENING_NOTE,
  PROTOCOL_VERSION,
  REGISTRY_PORT,
} from './protocol.ts'
import { openTunnels } from './tunnels.ts'

const RUN_FOLDER = '/run/hypeman'
const CONFIG_FOLDER = '/config'
/** Never killed for memory. */
const OOM_SCORE = -1000

async function main(): Promise<void> {
  setOomScore('self', OOM_SCORE)
  mkdirSync(RUN_FOLDER, { recursive: true, mode: 0o700 })
  const config = loadConfig()
  const stop = new AbortController()
  const channel = await openChannel({
    path: `${RUN_FOLDER}/agent.sock`,
    greeting: {
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      job_id: jobOf(config),
      boot_ms: uptimeMs(),
    },
    key: config instanceof Error ? undefined : config.channel_key,
    onCancel: (reason) => stop.abort(new Error(reason)),
  })
  note(LISTENING_NOTE)
  process.once('SIGTERM', () => stop.abort(new Error('the guest is going down')))
  void channel.connected.then(() => note('host connected'))
  void channel.closed.then(() => stop.abort(new Error('the host hung up')))
  const heartbeat = setInterval(channel.heartbeat, HEARTBEAT_MS)
  try {
    if (config instanceof Error) {
      await channel.send({ type: 'result', result: unreadable(config) })
      await channel.finish()
    } else await serve(channel, config, stop.signal)
  } finally {
    clearInterval(heartbeat)
  }
}

function loadConfig(): BuildConfig | Error {
  try {
    const text = readConfigDevice(environment.config)
    const config = parseConfig(text)
    publishConfig(CONFIG_FOLDER, text)
    return config
  } catch (error) {
    return error as Error
  }
}

function jobOf(config: BuildConfig | Error): string {
  return config instanceof Error ? 'unknown' : config.job_id
}

async function serve(channel: Channel, config: BuildConfig, signal: AbortSignal): Promise<void> {
  const tunnels = openTunnels([REGISTRY_PORT])
  const port = EGRESS_PORT
  const hostSocket = environment.hostSocket(port)
  const door =
    config.network_mode === 'egress'
      ? await openEgressDoor({ port, folder: RUN_FOLDER, hostSocket })
      : undefined
  const { result, exportCache, stop } = await runBuild({
    config,
    source: environment.source,
    runFolder: RUN_FOLDER,
    memory: limitSteps(),
    channel,
    signal,
  })
  const named = door ? { network_connections: door.named() } : {}
  await channel.send({ type: 'result', result: { ...result, ...named } })
  if (exportCache) await channel.send({ type: 'cache', exported: await exportCache() })
  await channel.finish()
  note('done')
  await Promise.all([stop(), tunnels.stop(), door?.stop()])
}

function unreadable(error: Error): BuildResult {
  return {
    success: false,
    failure_class: 'infra',
    error: `the agent could not read its configuration: ${error.message}`,
    provenance: {
      source_hash: '',
      buildkit_version: 'unknown',
      timestamp: new Date().toISOString(),
    },
    duration_ms: 0,
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    note(`failed: ${error instanceof Error ? error.stack : error}`)
    process.exit(1)
  },
)
