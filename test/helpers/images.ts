// Images made by hand for the registry, and images taken out of it and run.
import { copyFile, mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'

async function givenFolder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-image-'))
  t.after(() => removeFolder(dir))
  return dir
}

/** An OCI layout `<dir>:latest` with a static busybox and its usual names, and perhaps a script that it runs. */
export async function givenBusyboxImage(t: TestContext, entrypoint?: string): Promise<string> {
  const { umoci } = await testParts()
  const dir = await givenFolder(t)
  const bin = join(dir, 'root/bin')
  await mkdir(bin, { recursive: true })
  await copyFile('/bin/busybox', join(bin, 'busybox'))
  for (const name of [
    'sh',
    'cat',
    'echo',
    'wget',
    'sleep',
    'ls',
    'true',
    'find',
    'basename',
    'sed',
  ]) {
    await symlink('busybox', join(bin, name))
  }
  if (entrypoint !== undefined) await writeFile(join(bin, 'entry'), entrypoint, { mode: 0o755 })
  const image = `${join(dir, 'layout')}:latest`
  await execa('tar', ['-cf', join(dir, 'layer.tar'), '-C', join(dir, 'root'), '.'])
  await execa(umoci, ['init', '--layout', join(dir, 'layout')])
  await execa(umoci, ['new', '--image', image])
  await execa(umoci, ['raw', 'add-layer', '--image', image, join(dir, 'layer.tar')])
  if (entrypoint !== undefined) {
    await execa(umoci, ['config', '--image', image, '--config.entrypoint', '/bin/entry'])
  }
  return image
}

/** Pulls an image and runs its entry point in its own root. */
export async function runImage(t: TestContext, source: string, auth: string[]): Promise<string> {
  const { umoci, skopeo } = await testParts()
  const dir = await givenFolder(t)
  const layout = join(dir, 'layout')
  await execa(skopeo, ['copy', '--src-tls-verify=false', ...auth, source, `oci:${layout}:latest`])
  await execa(umoci, ['unpack', '--rootless', '--image', `${layout}:latest`, join(dir, 'bundle')])
  const inspected = await execa(skopeo, ['inspect', '--config', `oci:${layout}:latest`])
  const { config } = JSON.parse(inspected.stdout) as {
    config: { Entrypoint?: string[]; Cmd?: string[] }
  }
  const command = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])]
  const root = join(dir, 'bundle/rootfs')
  const isRoot = process.getuid?.() === 0
  const enter = isRoot ? ['chroot', root] : ['unshare', '--user', '--map-root-user', 'chroot', root]
  const [first = '', ...rest] = [...enter, ...command]
  return (await execa(first, rest, { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })).stdout
}
