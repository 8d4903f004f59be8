// What keeps a build in when it shares the kernel of this machine: steps that try to get out, or to take more
// than they may.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import type { BuildResult } from '../../agent/protocol.ts'
import type { PodSpec } from '../../server/runners/runner.ts'
import { seccompProgram } from '../../server/runners/seccomp.ts'
import { ensureBubblewrap } from '../../server/setup/parts/bubblewrap.ts'
import { testParts } from '../helpers/parts.ts'
import { givenRunner, listenToAgent, pipeTo, podSpec } from '../helpers/pods.ts'
import { givenPrograms } from '../helpers/programs.ts'
import { givenRegistry } from '../helpers/registry.ts'
import { testSandboxes } from '../helpers/sandboxes.ts'

const never = () => AbortSignal.timeout(600_000)

interface Tried {
  lines: string[]
  result: BuildResult
}

interface Attempt {
  /** Programs to copy in beside busybox. */
  files?: string[]
  /** Each one a shell line of its own RUN step. */
  steps: string[]
  spec?: Partial<PodSpec>
  egress?: boolean
}

async function givenSandbox(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const registry = pipeTo(upstream.kind === 'socket' ? upstream.socketPath : '')
  const { runner, remains } = await givenRunner(t, 'bubblewrap')
  const folder = await mkdtemp(join(tmpdir(), 'hm-iso-'))
  t.after(() => rm(folder, { recursive: true, force: true }))

  /** Builds the steps in a pod; afterwards nothing of it may be left. */
  async function tryIn(name: string, { files = [], steps, spec, egress }: Attempt): Promise<Tried> {
    const source = join(folder, name)
    await mkdir(source)
    for (const file of ['/bin/busybox', ...files]) {
      await copyFile(file, join(source, file.split('/').at(-1) ?? ''))
    }
    const lines = [
      'FROM scratch',
      'COPY . /bin/',
      'ENV PATH=/bin',
      'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
      ...steps.map((step) => `RUN ${step}`),
    ]
    await writeFile(join(source, 'Dockerfile'), `${lines.join('\n')}\n`)
    await execa('tar', ['-cf', `${source}.tar`, '-C', source, '.'])
    const base = podSpec(name, `${source}.tar`, { services: new Map([[5000, registry]]) })
    const config = { ...base.config, network_mode: egress ? 'egress' : 'isolated' } as const
    const pod = await runner.start({ ...base, config, ...spec }, never())
    try {
      const channel = await pod.connect(never())
      const messages = await listenToAgent(channel)
      const last = messages.at(-1)
      assert.ok(last?.type === 'result', pod.console())
      const logged = messages.flatMap((m) => (m.type === 'log' ? [m.log] : []))
      return { lines: logged, result: last.result }
    } finally {
      await pod.stop()
      assert.deepEqual(await remains(), [])
    }
  }
  return tryIn
}

await testSandboxes(() => {
  test('a step sees no file, no process and no mount of the machine', async (t) => {
    const tryIn = await givenSandbox(t)
    const marker = join(tmpdir(), `hm-marker-${process.pid}`)
    await writeFile(marker, 'of the machine')
    t.after(() => rm(marker))
    const { lines, result } = await tryIn('seen', {
      steps: [
        `echo "marker: $(cat ${marker} 2>&1)"`,
        'echo "root: $(ls / | sort | xargs)"',
        'echo "processes: $(ls /proc | grep -c "^[0-9]")"',
        'echo "disks: $(ls /dev | grep -c "^[sv]d\\|^loop")"',
        'echo "sysctl: $(echo 1 2>&1 >/proc/sys/kernel/panic)"',
        'echo "kernel log: $(dmesg 2>&1 | head -n 1)"',
        'echo "mount: $(mount -t tmpfs none /mnt 2>&1)"',
        'echo "host name: $(hostname)"',
        'cat /proc/self/uid_map; cat /proc/self/status',
      ],
    })
    const said = (what: string) => lines.find((line) => line.startsWith(`${what}: `)) ?? ''
    assert.equal(result.success, true, result.error)
    assert.match(said('marker'), /No such file/)
    assert.equal(said('root'), 'root: bin dev etc proc sys')
    assert.ok(Number(said('processes').split(' ')[1]) <= 5, said('processes'))
    assert.equal(said('disks'), 'disks: 0')
    assert.match(said('sysctl'), /Read-only file system/)
    assert.match(said('kernel log'), /not (implemented|permitted)/)
    assert.match(said('mount'), /permission denied|not permitted/i)
    assert.equal(said('host name'), 'host name: buildkitsandbox')
    const map = lines.find((line) => /^\s+0\s+\d+\s+65536$/.test(line)) ?? ''
    assert.ok(Number(map.trim().split(/\s+/)[1]) >= 0x77a0_0000, map)
    assert.ok(lines.includes('Seccomp:\t2'))
  })

  test('a step reaches nothing on the network but the tunnels of its mode, and no other machine over vsock', async (t) => {
    const tryIn = await givenSandbox(t)
    const web = createServer((_request, response) => response.end('of the machine'))
    web.listen(0, '0.0.0.0')
    await once(web, 'listening')
    t.after(() => web.close())
    const { port } = web.address() as AddressInfo
    const programs = await givenPrograms(t)
    const fetch = (url: string) => `echo "${url} $(HTTP_PROXY= fetch ${url} 2>&1)"`
    const steps = [
      fetch(`http://127.0.0.1:${port}/`),
      fetch('http://127.0.0.1:5000/v2/'),
      fetch('http://127.0.0.1:3128/'),
      fetch('http://127.0.0.1:5432/'),
      'ip -o addr; ip route; cat /proc/net/unix',
      'dial64; dial32 || true',
    ]
    const files = ['dial64', 'dial32', 'fetch'].map((name) => join(programs, name))
    const [isolated, egress] = [
      await tryIn('alone', { files, steps }),
      await tryIn('open', { files, steps, egress: true }),
    ]
    for (const { lines, result } of [isolated, egress]) {
      assert.equal(result.success, true, result.error)
      const text = lines.join('\n')
      assert.doesNotMatch(text, /of the machine/)
      assert.doesNotMatch(text, /\beth0|\bens\d|default via/)
      assert.doesNotMatch(text, /connected, answer/)
      assert.match(text, /dial amd64 \d+: socket: /)
      assert.match(text, /127\.0\.0\.1:5432\/ .*refused/)
    }
    for (const port of [5000, 3128]) {
      assert.match(isolated.lines.join('\n'), new RegExp(`127\\.0\\.0\\.1:${port}/.*refused`))
    }
    // The end of the proxy's tunnel is there in this mode; the host serves nothing behind it in this test.
    assert.match(egress.lines.join('\n'), /127\.0\.0\.1:3128\/ fetch: .*(EOF|reset)/)
    // This test's registry asks for no token; the server's proxy does.
    assert.match(egress.lines.join('\n'), /127\.0\.0\.1:5000\/v2\/ fetch: 200 OK: \{\}/)
  })

  test('a step that starts processes without end is stopped by the limit, and its pod goes as a whole', async (t) => {
    const tryIn = await givenSandbox(t)
    const { lines, result } = await tryIn('bomb', {
      steps: ['i=0; while [ $i -lt 6000 ]; do sleep 300 & i=$((i+1)); done'],
    })
    assert.equal(result.failure_class, 'build', result.error)
    assert.match(lines.join('\n'), /can't fork: Resource temporarily unavailable/)
  })

  test('more memory than memory_mb is class oom, and nothing outside of the pod is killed for it', async (t) => {
    const tryIn = await givenSandbox(t)
    const steps = [`awk 'BEGIN { s = "x"; while (1) s = s s }'`]
    const { result } = await tryIn('hungry', { steps, spec: { memoryMb: 512 } })
    assert.equal(result.failure_class, 'oom', result.error)
  })

  test('more processor time than cpus is not given', async (t) => {
    const tryIn = await givenSandbox(t)
    const steps = [
      'timeout 2 sh -c "while :; do :; done" & timeout 2 sh -c "while :; do :; done"; wait; times',
    ]
    const { lines, result } = await tryIn('busy', { steps, spec: { cpus: 1 } })
    assert.equal(result.success, true, result.error)
    const [, children = ''] = lines.filter((line) => /^\d+m[\d.]+s \d+m[\d.]+s$/.test(line))
    const seconds = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(
      ([, m, s]) => Number(m) * 60 + Number(s),
    )
    // Two loops of two seconds would use four where there were two processors.
    assert.ok((seconds[0] ?? 9) + (seconds[1] ?? 9) < 3, lines.join('\n'))
  })

  test('the filter refuses sockets that no namespace keeps in, and 32-bit calls that would hide them', async (t) => {
    const { tools } = await ensureBubblewrap(await testParts(), (await testParts()).builder)
    const programs = await givenPrograms(t)
    const filter = join(programs, 'filter')
    await writeFile(filter, seccompProgram())
    const inFilter = async (program: string) => {
      const file = await open(filter)
      try {
        const args = [
          '--ro-bind',
          '/',
          '/',
          '--proc',
          '/proc',
          '--seccomp',
          '3',
          join(programs, program),
        ]
        return spawnSync(tools.bwrap, args, { stdio: ['ignore', 'pipe', 'inherit', file.fd] })
      } finally {
        await file.close()
      }
    }
    assert.match(String((await inFilter('dial64')).stdout), /socket: address family not supported/)
    const narrow = await inFilter('dial32')
    assert.notEqual(narrow.status, 0)
    assert.doesNotMatch(String(narrow.stdout), /connected/)
  })
})
