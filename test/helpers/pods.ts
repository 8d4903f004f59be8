// A runner in folders of the test's own, pods from it, and a look at everything a pod could leave behind.
import { execFile } from 'node:child_process'
import { copyFile, cp, mkdtemp, readdir, readFile, readlink } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { AgentMessage, HostMessage } from '../../agent/protocol.ts'
import { createBubblewrapRunner } from '../../server/runners/bubblewrap.ts'
import { createQemuRunner } from '../../server/runners/qemu.ts'
import type { PodSpec, Runner } from '../../server/runners/runner.ts'
import { probeMicroVm } from '../../server/setup/microvm-probe.ts'
import { ensureBubblewrap } from '../../server/setup/parts/bubblewrap.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { silent } from './database.ts'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url))

const CHANNEL_KEY = 'k'.repeat(43)

export interface TestRunner {
  runner: Runner
  runDir: string
  dataDir: string
  /** The user pods run as; null when the test is not root. */
  vmUid: number | null
  /** Everything of this runner that exists: processes, files, sockets, control groups. */
  remains(): Promise<string[]>
}

export type RunnerName = 'qemu' | 'bubblewrap'

export async function givenRunner(t: TestContext, name: RunnerName = 'qemu'): Promise<TestRunner> {
  // Walkable by the VM's user, and short: unix socket paths end at 107 bytes.
  const dir = await mkdtemp(join(tmpdir(), 'hm-pod-'))
  const { runner, vmUid } = await makeRunner(dir, name)
  t.after(async () => {
    await runner.close()
    await removeFolder(dir)
  })
  const [runDir, dataDir] = [join(dir, 'run'), join(dir, 'data')]
  return { runner, runDir, dataDir, vmUid, remains: () => remainsOf(dir) }
}

/** Also used by the process that plays a server that dies. */
export async function makeRunner(
  dir: string,
  name: RunnerName,
): Promise<{ runner: Runner; vmUid: number | null }> {
  const parts = await testParts()
  const users = await ensureUsers()
  await promisify(execFile)('chmod', ['711', dir])
  const folders = { runDir: join(dir, 'run'), dataDir: join(dir, 'data'), log: silent }
  if (name === 'bubblewrap') {
    const own = await ensureBubblewrap(parts, parts.builder)
    return { runner: createBubblewrapRunner({ ...own, ...folders }), vmUid: null }
  }
  const runner = createQemuRunner({
    ...folders,
    parts,
    users,
    builderDisk: parts.builder.disk,
    probe: () => probeMicroVm({ parts, user: users.vm }),
  })
  return { runner, vmUid: users.vm?.uid ?? null }
}

/** A fixture app as the uncompressed tar a pod is given. */
export async function sourceTar(dir: string, fixture: string): Promise<string> {
  const source = join(dir, `${fixture}-source`)
  const tar = `${source}.tar`
  await cp(join(FIXTURES, fixture), source, { recursive: true })
  await copyFile('/bin/busybox', join(source, 'busybox'))
  await promisify(execFile)('tar', ['-cf', tar, '-C', source, '.'])
  return tar
}

export function podSpec(id: string, sourceFile: string, more: Partial<PodSpec> = {}): PodSpec {
  return {
    id: `${id}-1`,
    memoryMb: 1024,
    cpus: 2,
    diskBytes: 4 * 1024 ** 3,
    networkMode: 'isolated',
    sourceFile,
    config: {
      job_id: id,
      channel_key: CHANNEL_KEY,
      registry_url: 'localhost:5000',
      registry_public_name: 'registry.test:8083',
      registry_token: 'token-of-the-test',
      image_repository: `builds/${id}`,
      source_path: '/src',
      source_hash: `sha256:${'0'.repeat(64)}`,
      timeout_seconds: 300,
      network_mode: 'isolated',
    },
    services: new Map(),
    ...more,
  }
}

/** A service that carries a guest's connection to a unix socket of the host. */
export function pipeTo(socketPath: string): (socket: Socket) => void {
  return (socket) => {
    const upstream = connect(socketPath)
    socket.pipe(upstream).pipe(socket)
    upstream.on('error', () => socket.destroy())
    socket.on('close', () => upstream.destroy())
  }
}

/** Everything the agent says until its result, to a host that shows its key. */
export async function listenToAgent(channel: Duplex): Promise<AgentMessage[]> {
  const messages: AgentMessage[] = []
  const ready: HostMessage = { type: 'host_ready', protocol: 1, key: CHANNEL_KEY, after: 0 }
  channel.write(`${JSON.stringify(ready)}\n`)
  channel.on('error', () => {}) // behind the result: an agent that has ended leaves our last word unread
  channel.setEncoding('utf8')
  let rest = ''
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    messages.push(...lines.map((line) => JSON.parse(line) as AgentMessage))
    const last = messages.at(-1)
    if (last?.type !== 'result') continue
    const seq = 'seq' in last ? last.seq : 0
    channel.write(`${JSON.stringify({ type: 'ack', seq } satisfies HostMessage)}\n`)
    break
  }
  return messages
}

async function remainsOf(dir: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (command.includes(dir)) found.push(`process ${pid}: ${command.replaceAll('\0', ' ')}`)
  }
  for (const fd of await readdir('/proc/self/fd')) {
    const file = await readlink(`/proc/self/fd/${fd}`).catch(() => '')
    if (file.startsWith(dir)) found.push(`open file ${file}`)
  }
  for (const loop of await readdir('/sys/block')) {
    const backing = await readFile(`/sys/block/${loop}/loop/backing_file`, 'utf8').catch(() => '')
    if (backing.startsWith(dir)) found.push(`${loop}: ${backing.trim()}`)
  }
  for (const folder of [join(dir, 'run'), join(dir, 'data/pods')]) {
    for (const name of await readdir(folder).catch(() => [])) found.push(join(folder, name))
  }
  return found
}
