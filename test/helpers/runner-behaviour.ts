// What every runner does, on real pods: the same sentences for each, with what differs as data.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createRegistryClient } from '../../server/registry/client.ts'
import {
  describeProcess,
  type PodRecord,
  type ProcessRecord,
} from '../../server/runners/pod-record.ts'
import { removeFolder } from './folders.ts'
import { givenRunner, listenToAgent, pipeTo, podSpec, type RunnerName, sourceTar } from './pods.ts'
import { givenRegistry } from './registry.ts'

const DOOMED = fileURLToPath(new URL('./doomed-server.ts', import.meta.url))
export const never = () => AbortSignal.timeout(600_000)

export async function givenFolder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-run-'))
  t.after(() => removeFolder(dir))
  return dir
}

export async function readPodRecord(runDir: string, id: string): Promise<PodRecord> {
  return JSON.parse(await readFile(join(runDir, id, 'record.json'), 'utf8')) as PodRecord
}

export interface RunnerFacts {
  name: RunnerName
  /** Its processes as the record names them, and the one that is the pod. */
  processes: string[]
  main: string
  sockets: string[]
  /** Shorter than it takes until an agent answers. */
  bootMs: number
  checkRights(process: ProcessRecord, vmUid: number | null): Promise<void>
}

export function testRunner(kind: RunnerFacts): void {
  test(`${kind.name}: a pod builds an app, pushes it, and is gone afterwards`, async (t) => {
    const { upstream } = await givenRegistry(t)
    assert.equal(upstream.kind, 'socket')
    const socketPath = upstream.kind === 'socket' ? upstream.socketPath : ''
    const given = await givenRunner(t, kind.name)
    const { runner, runDir, dataDir, vmUid, remains } = given
    assert.equal((await runner.releaseData()).ID, 'debian')
    const source = await sourceTar(await givenFolder(t), 'hello')
    const services = new Map([[5000, pipeTo(socketPath)]])
    const pod = await runner.start(podSpec('hello', source, { services }), never())
    const record = await readPodRecord(runDir, pod.id)

    await t.test('its disks and its token have no name on the host', async () => {
      assert.deepEqual(await readdir(join(dataDir, 'pods')), [])
      const sockets = await readdir(join(runDir, pod.id, 's'))
      // The vsock device may have closed the door for QEMU already.
      assert.deepEqual(sockets.filter((name) => name !== 'vhost').sort(), kind.sockets)
    })

    const channel = await pod.connect(never())
    const told = listenToAgent(channel)

    await t.test('its processes have no rights', async () => {
      assert.deepEqual(
        record.processes.map(({ name }) => name),
        kind.processes,
      )
      for (const process of record.processes) await kind.checkRights(process, vmUid)
    })

    const messages = await told
    const last = messages.at(-1)
    assert.ok(last?.type === 'result')

    await t.test('the agent greets first and says what it does', () => {
      const [first] = messages
      assert.ok(first?.type === 'hello')
      assert.equal(first.job_id, 'hello')
      const statuses = messages.flatMap((m) => (m.type === 'status' ? [m.status] : []))
      assert.deepEqual(statuses, ['preparing', 'building', 'pushing'])
      const lines = messages.flatMap((m) => (m.type === 'log' ? [m.log] : []))
      assert.deepEqual(
        lines.filter((line) => line.startsWith('counting')),
        ['counting 1', 'counting 2', 'counting 3'],
      )
    })

    await t.test('the image is in the registry under the digest it reports', async () => {
      assert.equal(last.result.error, undefined)
      assert.match(last.result.image_digest ?? '', /^sha256:[0-9a-f]{64}$/)
      const client = createRegistryClient({ upstream })
      assert.equal(await client.manifestExists('builds/hello', last.result.image_digest!), true)
    })

    await t.test('the provenance has lock files and BuildKit', () => {
      const { lockfile_hashes, buildkit_version } = last.result.provenance
      assert.deepEqual(Object.keys(lockfile_hashes ?? {}), ['package-lock.json'])
      assert.match(buildkit_version, /^v\d+\.\d+\.\d+$/)
    })

    await Promise.all([pod.stop(), pod.stop()])
    // Its work is done: it may be about to end by itself.
    const { code, signal } = await pod.exited
    assert.ok(signal === 'SIGKILL' || code === 0, `${signal} ${code}`)
    assert.deepEqual(await remains(), [])
    for (const path of record.cgroups) assert.ok(!existsSync(path), path)
    await pod.stop()
  })

  test(`${kind.name}: a sandbox that is killed from outside is known at once, and its pod leaves nothing`, async (t) => {
    const { runner, runDir, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    const pod = await runner.start(podSpec('killed', source), never())
    const { processes, cgroups } = await readPodRecord(runDir, pod.id)
    const connecting = assert.rejects(pod.connect(never()), /killed by SIGKILL/)
    process.kill(processes.find(({ name }) => name === kind.main)!.pid, 'SIGKILL')
    assert.deepEqual(await pod.exited, { code: null, signal: 'SIGKILL', stopped: false })
    await connecting
    await pod.stop()
    assert.deepEqual(await remains(), [])
    for (const path of cgroups) assert.ok(!existsSync(path), path)
  })

  test(`${kind.name}: stopping a pod while it boots ends the dial and leaves nothing`, async (t) => {
    const { runner, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    const pod = await runner.start(podSpec('stopped', source), never())
    const connecting = assert.rejects(pod.connect(never()), /ended before its agent answered/)
    await sleep(kind.bootMs / 2)
    const started = Date.now()
    await pod.stop()
    assert.ok(Date.now() - started < 5_000)
    await connecting
    assert.equal((await pod.exited).stopped, true)
    assert.deepEqual(await remains(), [])
  })

  test(`${kind.name}: a start that is aborted or fails leaves nothing, and the same pod can be started again`, async (t) => {
    const { runner, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    await assert.rejects(runner.start(podSpec('again', source), AbortSignal.abort(new Error('no'))))
    for (const delay of [0, 5, 20]) {
      const abort = new AbortController()
      const starting = runner.start(podSpec('again', source), abort.signal)
      setTimeout(() => abort.abort(new Error('enough')), delay)
      // Either it was too late, or nothing is left of it.
      const pod = await starting.catch(() => undefined)
      await pod?.stop()
      assert.deepEqual(await remains(), [])
    }
    await assert.rejects(runner.start(podSpec('again', `${source}.gone`), never()), /ENOENT/)
    assert.deepEqual(await remains(), [])
  })

  test(`${kind.name}: closing the runner ends its pods`, async (t) => {
    const { runner, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    const pod = await runner.start(podSpec('closed', source), never())
    await runner.close()
    assert.equal((await pod.exited).stopped, true)
    assert.deepEqual(await remains(), [])
    await assert.rejects(runner.start(podSpec('late', source), never()), /closed/)
  })

  test(`${kind.name}: what a killed server leaves is ended by the kernel and swept by the next server`, async (t) => {
    const { runner, runDir, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    const args = ['--import', 'tsx', DOOMED, dirname(runDir), source, kind.name]
    const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => server.kill('SIGKILL'))
    await once(server.stdout, 'data')
    const { processes, cgroups } = await readPodRecord(runDir, 'doomed-1')
    assert.equal(processes.length, 2)
    server.kill('SIGKILL')
    await once(server, 'exit')
    for (const { name, pid, startTicks } of processes) {
      const started = Date.now()
      while ((await describeProcess(name, pid))?.startTicks === startTicks) {
        if (Date.now() - started > 5_000) assert.fail(`${name} survived its server`)
        await sleep(20)
      }
    }
    assert.deepEqual(await runner.sweep(), ['doomed-1'])
    assert.deepEqual(await remains(), [])
    for (const path of cgroups) assert.ok(!existsSync(path), path)
    assert.deepEqual(await runner.sweep(), [])
  })

  test(`${kind.name}: a process that outlived its server is ended by the sweep, a live pod is not touched`, async (t) => {
    const { runner, runDir, remains } = await givenRunner(t, kind.name)
    const source = await sourceTar(await givenFolder(t), 'hello')
    const pod = await runner.start(podSpec('live', source), never())
    const stray = spawn('sleep', ['600'])
    t.after(() => stray.kill('SIGKILL'))
    await once(stray, 'spawn')
    const processes = [(await describeProcess(kind.main, stray.pid!))!]
    await mkdir(join(runDir, 'stray-1'))
    const record = { id: 'stray-1', processes, cgroups: [] }
    await writeFile(join(runDir, 'stray-1', 'record.json'), JSON.stringify(record))
    assert.deepEqual(await runner.sweep(), ['stray-1'])
    if (stray.signalCode === null) await once(stray, 'exit')
    const ended = await Promise.race([pod.exited, sleep(100, 'lives' as const)])
    assert.equal(ended, 'lives')
    await pod.stop()
    assert.deepEqual(await remains(), [])
  })
}
