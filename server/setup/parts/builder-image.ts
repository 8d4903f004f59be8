// The generic builder image (images/generic) as an OCI layout, made by umoci from a Debian base and our
// tools, and as the read-only disk that microVMs boot from. Keyed by a hash of everything that goes in.
import { copyFile, cp, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { type BuilderDisk, builderDisk } from '../../disks/builder-disk.ts'
import type { Cache } from '../cache.ts'
import { DEBIAN_SUITE } from '../debian-index.ts'
import type { Tools } from '../tools.ts'
import { agentBundle, hashFiles } from './agent-bundle.ts'
import { BUILDKIT_VERSION } from './buildkit.ts'
import { type DebianBase, debianBase } from './debian-base.ts'
import { GUEST_NODE_VERSION, guestNode } from './guest-node.ts'

const IMAGE = fileURLToPath(new URL('../../../images/generic', import.meta.url))
const DEADLINE_MS = 600_000

export interface BuilderImage extends BuilderDisk {
  image: string
}

export async function builderImage(
  cache: Cache,
  tools: Tools,
  buildkitDir: string,
): Promise<BuilderImage> {
  const base = await genericBase(cache, tools)
  const node = await guestNode(cache)
  const agent = await agentBundle(cache)
  const rootfs = join(IMAGE, 'rootfs')
  const version = await hashFiles([rootfs, agent], [base.key, GUEST_NODE_VERSION, BUILDKIT_VERSION])
  const layout = await cache.part({
    name: 'builder-image',
    version,
    title: 'builder image: OCI layout',
    repair: 'npm run setup',
    build: async (into) => {
      const own = join(into, 'own.tar')
      await ownLayer({ into, rootfs, buildkitDir, node, agent, tar: own })
      await makeImage({
        umoci: tools.umoci,
        image: `${into}/layout:latest`,
        base: base.tar,
        own,
        version,
      })
      await rm(own)
    },
  })
  const image = `${join(layout, 'layout')}:latest`
  return { image, ...(await builderDisk({ image, cache, tools })) }
}

/** The Debian below the generic image. */
export async function genericBase(cache: Cache, tools: Tools): Promise<DebianBase> {
  return debianBase(cache, tools, await packageList())
}

async function packageList(): Promise<string[]> {
  const text = await readFile(join(IMAGE, 'packages.txt'), 'utf8')
  return text.split('\n').filter((line) => line && !line.startsWith('#'))
}

interface OwnLayer {
  into: string
  rootfs: string
  buildkitDir: string
  node: string
  agent: string
  tar: string
}

/** What is ours: the start script, BuildKit, Node and the agent. */
async function ownLayer({ into, rootfs, buildkitDir, node, agent, tar }: OwnLayer): Promise<void> {
  const layer = join(into, 'own')
  await cp(rootfs, layer, { recursive: true })
  await mkdir(join(layer, 'usr/bin'), { recursive: true })
  for (const name of ['buildctl', 'buildkitd']) {
    await copyFile(join(buildkitDir, name), join(layer, 'usr/bin', name))
  }
  await copyFile(node, join(layer, 'usr/lib/hypeman/node'))
  await copyFile(agent, join(layer, 'usr/lib/hypeman/agent.mjs'))
  const same = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mtime=@0']
  // The folder was made with the caller's umask; in the image everybody may read it.
  await execa('tar', [...same, '--mode=u+rwX,go=rX', '-cf', tar, '-C', layer, '.'])
  await rm(layer, { recursive: true })
}

interface ImageParts {
  umoci: string
  image: string
  base: string
  own: string
  version: string
}

async function makeImage({ umoci, image, base, own, version }: ImageParts): Promise<void> {
  const run = (...args: string[]) => execa(umoci, args, { timeout: DEADLINE_MS })
  const labels = {
    'org.opencontainers.image.title': 'hypeman generic builder',
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.base.name': `debian:${DEBIAN_SUITE}`,
    'hypeman.buildkit': BUILDKIT_VERSION,
    'hypeman.node': GUEST_NODE_VERSION,
  }
  await run('init', '--layout', image.replace(/:latest$/, ''))
  await run('new', '--image', image)
  await run('raw', 'add-layer', '--image', image, base)
  await run('raw', 'add-layer', '--image', image, own)
  const label = Object.entries(labels).flatMap((pair) => ['--config.label', pair.join('=')])
  const entrypoint = ['--config.entrypoint', '/usr/lib/hypeman/guest-start']
  await run('config', '--image', image, ...entrypoint, ...label)
}
