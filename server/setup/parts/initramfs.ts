// The guest's initramfs: images/kernel/init, a static busybox and the drivers that the guest kernel has as
// modules, in the order in which they must be loaded.
import { createHash } from 'node:crypto'
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import type { Cache } from '../cache.ts'
import type { Tools } from '../tools.ts'
import type { Kernel } from './kernel.ts'

const INIT = fileURLToPath(new URL('../../../images/kernel/init', import.meta.url))
/** What the init needs; what these depend on comes before them by itself. ext4 is built in. */
const MODULES = ['virtio_pci', 'virtio_blk', 'vmw_vsock_virtio_transport', 'squashfs', 'overlay']
const FOLDERS = ['bin', 'm', 'proc', 'sys', 'dev', 'ro', 'rw', 'new']

export async function initramfs(cache: Cache, kernel: Kernel, tools: Tools): Promise<string> {
  const init = await readFile(INIT)
  const key = createHash('sha256').update(init).update(MODULES.join()).digest('hex').slice(0, 12)
  const dir = await cache.part({
    name: 'initramfs',
    version: `${kernel.version}-${key}`,
    title: 'guest initramfs',
    repair: 'npm run setup',
    build: (into) => build(into, kernel, tools),
  })
  return join(dir, 'initramfs.gz')
}

async function build(into: string, kernel: Kernel, tools: Tools): Promise<void> {
  const root = join(into, 'root')
  for (const name of FOLDERS) await mkdir(join(root, name), { recursive: true })
  await copyFile(tools.busybox, join(root, 'bin/busybox'))
  await copyFile(INIT, join(root, 'init'))
  for (const name of ['bin/busybox', 'init']) await chmod(join(root, name), 0o755)
  const files = await moduleFiles(kernel, tools)
  for (const file of files) await copyFile(file, join(root, 'm', basename(file)))
  await writeFile(join(root, 'm/order'), files.map((file) => `${basename(file)}\n`).join(''))
  const pack = 'find . | "$1" -o -H newc --quiet -R +0:+0 | gzip -1 > ../initramfs.gz'
  await execa('sh', ['-ec', pack, 'sh', tools.cpio], { cwd: root, timeout: 60_000 })
  await rm(root, { recursive: true })
}

async function moduleFiles({ dir, version }: Kernel, tools: Tools): Promise<string[]> {
  const outputs: string[] = []
  for (const name of MODULES) {
    const args = ['-d', dir, '-S', version, '--show-depends', name]
    outputs.push((await execa(tools.modprobe, args)).stdout)
  }
  return loadOrder(outputs)
}

/** From what `modprobe --show-depends` said of each module: every file once, dependencies first. */
export function loadOrder(outputs: string[]): string[] {
  const files = outputs.flatMap((text) => [...text.matchAll(/^insmod (\S+)/gm)].map((m) => m[1]!))
  return [...new Set(files)]
}
