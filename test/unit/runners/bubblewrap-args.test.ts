import assert from 'node:assert/strict'
import { test } from 'node:test'
import { environmentOf } from '../../../agent/environment.ts'
import { podIds, type Sandbox, sandboxCommand } from '../../../server/runners/bubblewrap-args.ts'
import { seccompProgram } from '../../../server/runners/seccomp.ts'

const SANDBOX: Sandbox = {
  tools: { bwrap: '/bwrap', setpriv: '/setpriv', unshare: '/unshare', prlimit: '/prlimit' },
  ids: { uid: 2_006_974_464, gid: 2_006_974_464 },
  image: '/data/pods/p-1/state.img',
  state: '/run/p/state',
  rootfs: '/cache/root',
  root: '/run/p/root',
  sockets: '/run/p/s',
  oomCounter: undefined,
  tmpBytes: 1024,
  tasks: 77,
  openFiles: 1024,
  command: ['/start'],
}

test('rights are given up before the user namespace is made, and everything is unshared', () => {
  const { file, args } = sandboxCommand(SANDBOX)
  assert.equal(file, '/setpriv')
  const at = (word: string) => {
    const found = args.indexOf(word)
    assert.notEqual(found, -1, word)
    return found
  }
  assert.ok(at('--mount') < at('--reuid=2006974464'))
  assert.ok(at('--nproc=77') < at('--reuid=2006974464'))
  assert.ok(at('--no-new-privs') < at('--user'))
  assert.ok(at('--user') < at('/bwrap'))
  for (const space of ['pid', 'net', 'ipc', 'uts', 'cgroup']) at(`--unshare-${space}`)
  at('--die-with-parent')
  assert.equal(args.at(-1), '/start')
})

test('nothing of the machine is bound into a sandbox but the image, its own state and its sockets', () => {
  const { args } = sandboxCommand({ ...SANDBOX, oomCounter: '/sys/fs/cgroup/p/memory.events' })
  const binds = args.flatMap((word, i) => (/^--(ro-)?bind$/.test(word) ? [args[i + 1]] : []))
  assert.deepEqual(binds, [
    '/run/p/root',
    '/run/p/state/buildkit',
    '/run/p/state/src',
    '/run/p/s',
    '/sys/fs/cgroup/p/memory.events',
  ])
  assert.ok(!args.includes('--dev-bind'))
})

test('each pod has a range of ids of its own, far from users and from what systemd gives away', () => {
  const seen = new Set<number>()
  for (let i = 0; i < 200; i += 1) {
    const { uid, gid } = podIds(`build-${i}`)
    assert.equal(uid, gid)
    assert.equal(uid % 65_536, 0x77a0_0000 % 65_536)
    assert.ok(uid > 2_000_200_000 && uid + 65_536 <= 0x7ffe_0000, String(uid))
    seen.add(uid)
  }
  assert.ok(seen.size > 150)
  assert.deepEqual(podIds('a-1'), podIds('a-1'))
})

test('the filter is a program of whole instructions, short enough for its jumps', () => {
  const program = seccompProgram()
  assert.equal(program.length % 8, 0)
  assert.ok(program.length / 8 < 256)
})

test('the agent is in a VM unless its sandbox says otherwise', () => {
  assert.equal(environmentOf(undefined).hostAddress(5000), 'VSOCK-CONNECT:2:5000')
  assert.equal(environmentOf(undefined).ownKernel, true)
  const sandbox = environmentOf('shared-kernel')
  assert.equal(sandbox.hostAddress(5000), 'UNIX-CONNECT:/run/pod/host/5000')
  assert.deepEqual([sandbox.ownKernel, sandbox.source], [false, { fd: 4 }])
})
