// What the doctor looks at among the parts: every one that set-up brings, and the two it can't.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Cache, SetupError } from '../cache.ts'
import { lookOnlyApt } from '../debian.ts'
import { builderImage } from '../parts/builder-image.ts'
import { buildkit } from '../parts/buildkit.ts'
import { distribution } from '../parts/distribution.ts'
import { guestNode } from '../parts/guest-node.ts'
import { initramfs } from '../parts/initramfs.ts'
import { type Kernel, knownKernel } from '../parts/kernel.ts'
import { postgresBin } from '../parts/postgres.ts'
import { vsockDevice } from '../parts/vsock-device.ts'
import { findTools, TOOL_PACKAGES, type Tool, type Tools, which } from '../tools.ts'
import { type Found, type Look, versionOf } from './look.ts'

const SET_UP = 'npm run setup'
const MiB = 1024 * 1024

/** For the tools that do not know --version; null: it tells no version at all. */
const VERSION_FLAGS: Partial<Record<Tool, string | null>> = {
  mksquashfs: '-version',
  'mkfs.ext4': '-V',
  busybox: '--help',
  useradd: null,
}

export function partLooks(cache: Cache, baseInitramfs: string | undefined): Look[] {
  const part = (name: string, look: () => Promise<Found>) => ({
    name,
    isNeeded: true,
    repair: SET_UP,
    look,
  })
  const tools = Object.keys(TOOL_PACKAGES) as Tool[]
  return [
    part('Node', async () => ({ version: process.version.slice(1), from: process.execPath })),
    { ...tool('git', 'git'), repair: 'apt-get install git' },
    ...tools.map((name) => tool(name, TOOL_PACKAGES[name])),
    part('vhost-device-vsock', () => vsockDevice(cache, lookOnlyApt).then(program)),
    part('guest kernel', async () => {
      const { version, image } = await guestKernel(cache)
      return { version, from: image }
    }),
    part('guest initramfs', () => lookAtInitramfs(cache, baseInitramfs)),
    part('BuildKit', async () => program(join(await buildkit(cache, lookOnlyApt), 'buildkitd'))),
    part('CNCF distribution', async () =>
      program(join(await distribution(cache, lookOnlyApt), 'registry')),
    ),
    part('PostgreSQL', async () => program(join(await postgresBin(), 'postgres'))),
    part('guest Node', async () => program(await guestNode(cache))),
    part('builder image', () => lookAtBuilder(cache)),
  ]
}

function tool(name: string, debianPackage: string): Look {
  return {
    name,
    isNeeded: true,
    repair: SET_UP,
    async look() {
      const path = await which(name)
      if (!path) throw new Error(`not found; package ${debianPackage}`)
      const flag = VERSION_FLAGS[name as Tool]
      return { version: flag === null ? 'found' : await versionOf(path, flag), from: path }
    },
  }
}

async function program(path: string): Promise<Found> {
  return { version: await versionOf(path), from: path }
}

async function guestKernel(cache: Cache): Promise<Kernel> {
  const kernel = await knownKernel(cache)
  if (!kernel) throw new SetupError(`not in ${cache.dir}`, SET_UP)
  return kernel
}

async function lookAtInitramfs(cache: Cache, given: string | undefined): Promise<Found> {
  if (given !== undefined) {
    await stat(given)
    return { version: 'own', from: `QEMU_BASE_INITRAMFS=${given}` }
  }
  const kernel = await guestKernel(cache)
  return { version: kernel.version, from: await initramfs(cache, kernel, await allTools()) }
}

async function lookAtBuilder(cache: Cache): Promise<Found> {
  const buildkitDir = await buildkit(cache, lookOnlyApt)
  const { digest, disk } = await builderImage(cache, await allTools(), buildkitDir)
  const { size } = await stat(disk)
  const version = digest.replace('sha256:', '').slice(0, 12)
  return { version, from: disk, notes: [`${digest}, ${Math.round(size / MiB)} MiB`] }
}

/** Only paths are needed, so one that is missing (its own row says so) must not spoil the others. */
async function allTools(): Promise<Tools> {
  const { tools } = await findTools()
  return tools as Tools
}
