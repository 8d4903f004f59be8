// Disks that are full: the build's own, wherever it notices, and that of the registry it pushes to.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import type { BuildResult } from '../../agent/protocol.ts'
import { givenRunner, listenToAgent, pipeTo, podSpec, type RunnerName } from '../helpers/pods.ts'
import { givenRegistry } from '../helpers/registry.ts'
import { testSandboxes } from '../helpers/sandboxes.ts'

const MiB = 1024 ** 2
const run = promisify(execFile)
const never = () => AbortSignal.timeout(600_000)

interface Attempt {
  steps: string[]
  /** Of a file `big` in the source. */
  sourceBytes?: number
  diskBytes?: number
}

interface Place {
  runner?: RunnerName
  /** Of a file system of its own for the registry. */
  registryBytes?: number
}

async function givenBuilds(t: TestContext, { runner: name = 'bubblewrap', registryBytes }: Place) {
  const folder = await mkdtemp(join(tmpdir(), 'hm-full-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const dataDir = registryBytes && (await givenTmpfs(t, registryBytes))
  const { upstream } = await givenRegistry(t, dataDir ? { dataDir } : {})
  const { runner, remains } = await givenRunner(t, name)
  const services = new Map([[5000, pipeTo(upstream.socketPath)]])

  /** Builds the steps on a small disk; afterwards nothing of it may be left. */
  return async ({ steps, sourceBytes = 0, diskBytes = 128 * MiB }: Attempt) => {
    const source = await mkdtemp(join(folder, 'source-'))
    await copyFile('/bin/busybox', join(source, 'busybox'))
    await writeFile(join(source, 'big'), '')
    await truncate(join(source, 'big'), sourceBytes)
    const lines = ['FROM scratch', 'COPY busybox /bin/', ...steps]
    await writeFile(join(source, 'Dockerfile'), `${lines.join('\n')}\n`)
    await run('tar', ['-cf', `${source}.tar`, '-C', source, '.'])
    const pod = await runner.start(
      podSpec('full', `${source}.tar`, { services, diskBytes }),
      never(),
    )
    try {
      const last = (await listenToAgent(await pod.connect(never()))).at(-1)
      assert.ok(last?.type === 'result', pod.console())
      return last.result
    } finally {
      await pod.stop()
      assert.deepEqual(await remains(), [])
    }
  }
}

async function givenTmpfs(t: TestContext, bytes: number): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'hm-full-registry-'))
  await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'none', path])
  t.after(async () => {
    await run('umount', ['--lazy', path])
    await rm(path, { recursive: true })
  })
  return path
}

/** Nothing makes it smaller. */
const randomFile = (name: string, mib: number) =>
  `RUN ["/bin/busybox", "dd", "if=/dev/urandom", "of=/${name}", "bs=1M", "count=${mib}"]`

function assertDisk({ failure_class: failureClass, error = '' }: BuildResult, what: RegExp) {
  assert.equal(failureClass, 'disk', error)
  assert.match(error, what)
  assert.match(error, /the build's disk of 0\.1 GiB is full; its operator may raise BUILD_DISK_GB$/)
}

await testSandboxes(() => {
  test('a RUN that fills the build’s disk is class disk', async (t) => {
    const build = await givenBuilds(t, {})
    assertDisk(
      await build({ steps: [randomFile('big', 200)] }),
      /^step \d+ \(\[2\/2\] RUN .*\) failed: /,
    )
  })

  test('a COPY that fills the build’s disk is class disk', async (t) => {
    const build = await givenBuilds(t, {})
    const steps = [randomFile('before', 40), 'COPY big /a', 'COPY big /b']
    assertDisk(
      await build({ steps, sourceBytes: 30 * MiB }),
      /^step \d+ \(\[\d\/4\] COPY big \/[ab]\) failed: /,
    )
  })

  test('a source that does not fit on the build’s disk is class disk', async (t) => {
    const build = await givenBuilds(t, {})
    const result = await build({ steps: [], sourceBytes: 200 * MiB })
    assertDisk(result, /^the source could not be unpacked: /)
  })

  test('an image that does not fit on the build’s disk beside its files is class disk', async (t) => {
    const build = await givenBuilds(t, {})
    const result = await build({ steps: [randomFile('big', 70)] })
    assertDisk(result, /^step \d+ \(exporting to image\) failed: /)
  })

  test('a full disk of the registry is class registry: nobody is told to make the build’s larger', async (t) => {
    const build = await givenBuilds(t, { registryBytes: 16 * MiB })
    const result = await build({ steps: [randomFile('big', 30)] })
    assert.equal(result.failure_class, 'registry', result.error)
    assert.match(result.error ?? '', /^the image could not be pushed: /)
    t.diagnostic(result.error ?? '')
    assert.doesNotMatch(result.error ?? '', /BUILD_DISK_GB/)
  })
})

test('in a virtual machine a RUN that fills the build’s disk is class disk as well', async (t) => {
  const build = await givenBuilds(t, { runner: 'qemu' })
  assertDisk(
    await build({ steps: [randomFile('big', 200)] }),
    /^step \d+ \(\[2\/2\] RUN .*\) failed: /,
  )
})
