// The bubblewrap runner: what every runner does, and what keeps a build in on the host's own kernel.
import assert from 'node:assert/strict'
import { readFile, readlink } from 'node:fs/promises'
import { testRunner } from '../helpers/runner-behaviour.ts'
import { testSandboxes } from '../helpers/sandboxes.ts'

const NAMESPACES = ['user', 'mnt', 'pid_for_children', 'net', 'ipc', 'uts', 'cgroup']

await testSandboxes(() =>
  testRunner({
    name: 'bubblewrap',
    processes: ['bwrap', 'sandbox'],
    main: 'bwrap',
    sockets: ['5000', '5001'],
    bootMs: 20,
    async checkRights({ name, pid }) {
      const text = await readFile(`/proc/${pid}/status`, 'utf8')
      assert.match(text, /^NoNewPrivs:\s+1$/m, name)
      const [, uid] = /^Uid:\s+(\d+)\s/m.exec(text) ?? []
      assert.ok(Number(uid) >= 0x77a0_0000, `${name} runs as ${uid}`)
      if (name !== 'sandbox') return
      assert.match(text, /^Seccomp:\s+2$/m)
      for (const namespace of NAMESPACES) {
        const [own, its] = await Promise.all(
          ['self', pid].map((which) => readlink(`/proc/${which}/ns/${namespace}`)),
        )
        assert.notEqual(own, its, namespace)
      }
    },
  }),
)
