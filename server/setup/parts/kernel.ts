// The guest kernel: Debian's kernel package for virtual machines, unpacked only, never installed on the
// host. From the machine's own package index when it has it (Debian), else from Debian's.
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type Cache, exists } from '../cache.ts'
import type { Apt } from '../debian.ts'
import { debianIndex, machineIndex, type PackageIndex } from '../debian-index.ts'

const META_PACKAGE = 'linux-image-cloud-amd64'

export interface Kernel {
  /** Folder with vmlinuz and lib/modules/<version>. */
  dir: string
  version: string
  image: string
}

/** The kernel of the cache, or undefined when none was unpacked yet. */
export async function knownKernel(cache: Cache): Promise<Kernel | undefined> {
  // Remembered, so that a newer package in the index does not change the kernel under a filled cache.
  const version = await readFile(join(cache.dir, 'kernel-version'), 'utf8').catch(() => '')
  if (version === '' || !(await exists(join(cache.dir, `kernel-${version}`)))) return undefined
  return kernelIn(join(cache.dir, `kernel-${version}`), version)
}

/** `debianSources`: a sources.list of Debian, asked for only when the machine's own index has no such kernel. */
export async function kernel(
  cache: Cache,
  apt: Apt,
  debianSources: () => Promise<string>,
): Promise<Kernel> {
  return (await knownKernel(cache)) ?? (await fetchKernel(cache, apt, debianSources))
}

const kernelIn = (dir: string, version: string) => ({ dir, version, image: join(dir, 'vmlinuz') })

async function fetchKernel(
  cache: Cache,
  apt: Apt,
  debianSources: () => Promise<string>,
): Promise<Kernel> {
  const work = join(cache.dir, `.debian-index-${process.pid}`)
  try {
    await apt.update()
    const { index, name } = await findPackage(work, debianSources)
    const version = name.replace(/^linux-image-/, '')
    const dir = await cache.part({
      name: 'kernel',
      version,
      title: `guest kernel ${version}, unpacked only`,
      repair: 'npm run setup',
      build: (into) => unpack(index, name, into),
    })
    await writeFile(join(cache.dir, 'kernel-version'), version)
    return kernelIn(dir, version)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function findPackage(
  work: string,
  debianSources: () => Promise<string>,
): Promise<{ index: PackageIndex; name: string }> {
  const here = kernelPackage(await machineIndex.depends(META_PACKAGE))
  if (here) return { index: machineIndex, name: here }
  const index = await debianIndex(work, await debianSources())
  const there = kernelPackage(await index.depends(META_PACKAGE))
  if (there) return { index, name: there }
  throw new Error(`Debian's package index has no ${META_PACKAGE}; is its mirror reachable?`)
}

/** The package that the meta package stands for: `linux-image-6.1.0-56-cloud-amd64`. */
export function kernelPackage(depends: string[]): string | undefined {
  return depends.find((name) => /^linux-image-\d\S*-cloud-amd64$/.test(name))
}

async function unpack(index: PackageIndex, name: string, into: string): Promise<void> {
  const work = join(into, '.deb')
  await mkdir(work)
  await index.download(name, work)
  for (const file of await readdir(work)) await execa('dpkg-deb', ['-x', join(work, file), into])
  await rm(work, { recursive: true })
  const [image] = (await readdir(join(into, 'boot'))).filter((file) => file.startsWith('vmlinuz-'))
  if (!image) throw new Error(`${name} has no vmlinuz`)
  await rename(join(into, 'boot', image), join(into, 'vmlinuz'))
  await moveModules(into)
  const [version = ''] = await readdir(join(into, 'lib/modules'))
  await execa('depmod', ['-b', into, version], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } })
}

/** Debian 13 has the modules in usr/lib; depmod and modprobe look in lib. */
async function moveModules(into: string): Promise<void> {
  if (!(await exists(join(into, 'usr/lib/modules')))) return
  await mkdir(join(into, 'lib'), { recursive: true })
  await rename(join(into, 'usr/lib/modules'), join(into, 'lib/modules'))
}
