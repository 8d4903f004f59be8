// The other side of the bench: the same Dockerfile by buildkitd and buildctl on the host, without a VM, a
// queue or git, exported into a registry-less OCI tar.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { which } from '../../server/setup/tools.ts'
import { testParts } from '../helpers/parts.ts'

const READY_TRIES = 200

/** Milliseconds from the start of a fresh buildkitd to the exported image; undefined when it can't run here. */
export async function bareBuild(round: number): Promise<number | undefined> {
  if (process.getuid?.() !== 0) return undefined
  if (!(await which('runc'))) await createApt({ assumeYes: setupEnv().assumeYes }).install(['runc'])
  const { buildctl, buildkitd } = await testParts()
  const dir = await mkdtemp(join(tmpdir(), 'hm-bare-'))
  const addr = `unix://${dir}/bk.sock`
  const source = join(dir, 'src')
  await cp(fileURLToPath(new URL('../fixtures/hello', import.meta.url)), source, {
    recursive: true,
  })
  await copyFile('/bin/busybox', join(source, 'busybox'))
  await writeFile(join(source, 'round'), `${round}\n`)
  const started = Date.now()
  const worker = ['--oci-worker-net=host', '--containerd-worker=false']
  const daemon = spawn(buildkitd, ['--addr', addr, '--root', join(dir, 'state'), ...worker], {
    stdio: 'ignore',
  })
  try {
    await untilReady(buildctl, addr)
    const local = ['--local', `context=${source}`, '--local', `dockerfile=${source}`]
    const output = ['--output', `type=oci,dest=${dir}/image.tar`]
    await execa(buildctl, [
      '--addr',
      addr,
      'build',
      '--frontend',
      'dockerfile.v0',
      ...local,
      ...output,
    ])
    return Date.now() - started
  } finally {
    const gone = once(daemon, 'exit')
    daemon.kill('SIGTERM')
    await gone
    await rm(dir, { recursive: true, force: true })
  }
}

async function untilReady(buildctl: string, addr: string): Promise<void> {
  for (let i = 0; i < READY_TRIES; i += 1) {
    const asked = await execa(buildctl, ['--addr', addr, 'debug', 'workers'], { reject: false })
    if (!asked.failed) return
    await sleep(50)
  }
  throw new Error('bare buildkitd did not start')
}
