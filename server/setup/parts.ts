// All parts the server needs beyond npm: found, installed or built once. The fast path is a few stats.
import { basename, dirname, join } from 'node:path'
import { execa } from 'execa'
import { type Cache, createCache, exists, readOnlyCache, SetupError } from './cache.ts'
import { type Apt, createApt, lookOnlyApt } from './debian.ts'
import { setupEnv } from './env.ts'
import { builderImage, genericBase } from './parts/builder-image.ts'
import { BUILDKIT_VERSION, buildkit } from './parts/buildkit.ts'
import { debianSources } from './parts/debian-base.ts'
import { DISTRIBUTION_VERSION, distribution } from './parts/distribution.ts'
import { dropGoPath } from './parts/go.ts'
import { initramfs } from './parts/initramfs.ts'
import { kernel } from './parts/kernel.ts'
import { postgresBin } from './parts/postgres.ts'
import { vsockDevice } from './parts/vsock-device.ts'
import type { Parts } from './parts-types.ts'
import { reachable } from './reachable.ts'
import { ensureTools, type Tools } from './tools.ts'

/** Throws SetupError with the command that repairs. */
export function ensureParts(): Promise<Parts> {
  const { cacheDir, assumeYes } = setupEnv()
  return collect(createCache(cacheDir), createApt({ assumeYes }))
}

/** The same without installing or building anything: throws SetupError for the first part that is missing. */
export function findParts(): Promise<Parts> {
  return collect(readOnlyCache(setupEnv().cacheDir), lookOnlyApt)
}

async function collect(cache: Cache, apt: Apt): Promise<Parts> {
  const tools = await ensureTools(apt)
  const qemu = tools['qemu-system-x86_64']
  const parts = {
    cacheDir: cache.dir,
    qemu,
    qemuVersion: await qemuVersion(qemu),
    umoci: tools.umoci,
    skopeo: tools.skopeo,
    mksquashfs: tools.mksquashfs,
    mkfsExt4: tools['mkfs.ext4'],
    setpriv: tools.setpriv,
    postgresBin: await postgresBin(),
    ...(await registryParts(cache, apt)),
    ...(await guestParts(cache, apt, tools)),
    ...(await builderParts(cache, apt, tools)),
  }
  await dropGoPath(cache)
  return parts
}

async function registryParts(cache: Cache, apt: Apt) {
  const dir = await distribution(cache, apt)
  return { registry: join(dir, 'registry'), registryVersion: DISTRIBUTION_VERSION }
}

async function guestParts(cache: Cache, apt: Apt, tools: Tools) {
  const vsock = await vsockDevice(cache, apt)
  const guest = await kernel(cache, apt, async () => debianSources(await genericBase(cache, tools)))
  const first = await firstDisk(setupEnv().baseInitramfs, () => initramfs(cache, guest, tools))
  return {
    vhostDeviceVsock: await reachable(vsock, 'vsock-device'),
    kernel: await reachable(guest.image, `kernel-${guest.version}`),
    kernelVersion: guest.version,
    initramfs: await reachable(first, basename(dirname(first))),
  }
}

async function firstDisk(given: string | undefined, make: () => Promise<string>): Promise<string> {
  if (given === undefined) return make()
  if (await exists(given)) return given
  throw new SetupError(`QEMU_BASE_INITRAMFS=${given} does not exist`, 'unset QEMU_BASE_INITRAMFS')
}

async function builderParts(cache: Cache, apt: Apt, tools: Tools) {
  const buildkitDir = await buildkit(cache, apt)
  const builder = await builderImage(cache, tools, buildkitDir)
  const disk = await reachable(builder.disk, `builder-${builder.digest.slice(7, 23)}`)
  return {
    buildkitVersion: BUILDKIT_VERSION,
    buildctl: join(buildkitDir, 'buildctl'),
    buildkitd: join(buildkitDir, 'buildkitd'),
    builder: { ...builder, disk },
  }
}

async function qemuVersion(qemu: string): Promise<string> {
  const { stdout } = await execa(qemu, ['--version'])
  return /version (\S+)/.exec(stdout)?.[1] ?? 'unknown'
}
