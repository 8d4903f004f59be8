// Builder image → read-only root disk (squashfs), cached by the image's digest. The image is an OCI layout
// (`<dir>:<tag>`) or a registry reference, which is copied into a layout first.
import { createHash } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { execa } from 'execa'
import { type Cache, exists, reasonOf, SetupError } from '../setup/cache.ts'

const PULL_DEADLINE_MS = 900_000
const UNPACK_DEADLINE_MS = 600_000

export interface BuilderDiskOptions {
  image: string
  cache: Cache
  tools: { umoci: string; skopeo: string; mksquashfs: string }
}

export interface BuilderDisk {
  /** Of the image's manifest. */
  digest: string
  disk: string
}

/** Throws SetupError when the image can't be had or is no OCI image. */
export async function builderDisk(options: BuilderDiskOptions): Promise<BuilderDisk> {
  const { cache, tools } = options
  const layout = await asLayout(options)
  const digest = await digestOf(layout)
  const dir = await cache.part({
    name: 'builder-disk',
    version: digest.replace('sha256:', '').slice(0, 16),
    title: 'builder image: read-only disk, about 10 s',
    repair: 'npm run setup',
    build: async (into) => {
      const bundle = join(into, 'bundle')
      const unpack = ['unpack', ...rootless(), '--image', layout, bundle]
      await execa(tools.umoci, unpack, { timeout: UNPACK_DEADLINE_MS })
      const disk = join(into, 'builder.squashfs')
      const how = ['-comp', 'lz4', '-noappend', '-quiet', '-no-progress', '-all-root']
      const squash = [join(bundle, 'rootfs'), disk, ...how]
      await execa(tools.mksquashfs, squash, { timeout: UNPACK_DEADLINE_MS })
      await rm(bundle, { recursive: true })
    },
  })
  return { disk: join(dir, 'builder.squashfs'), digest }
}

const rootless = () => (process.getuid?.() === 0 ? [] : ['--rootless'])

async function asLayout({ image, cache, tools }: BuilderDiskOptions): Promise<string> {
  if (await exists(join(splitTag(image).name, 'oci-layout'))) return image
  if (isAbsolute(image) || image.startsWith('.')) {
    throw new SetupError(
      `BUILDER_IMAGE=${image} is no OCI layout`,
      'give <folder>:<tag> of one (umoci and skopeo make them), or a registry reference',
    )
  }
  const digest = await remoteDigest(image, tools.skopeo)
  const dir = await cache.part({
    name: 'builder-pulled',
    version: digest.slice(0, 16),
    title: `builder image: ${image} from its registry`,
    repair: `skopeo inspect docker://${image}`,
    build: async (into) => {
      const target = `oci:${join(into, 'layout')}:latest`
      const args = ['copy', '--quiet', ...plainHttp('src-', image), `docker://${image}`, target]
      await execa(tools.skopeo, args, { timeout: PULL_DEADLINE_MS })
    },
  })
  return `${join(dir, 'layout')}:latest`
}

/** What a tag means today, so that a moved tag is pulled again and an unmoved one is not. */
async function remoteDigest(image: string, skopeo: string): Promise<string> {
  const args = ['inspect', '--raw', ...plainHttp('', image), `docker://${image}`]
  try {
    const { stdout } = await execa(skopeo, args, { timeout: 120_000, stripFinalNewline: false })
    return createHash('sha256').update(stdout).digest('hex')
  } catch (error) {
    throw new SetupError(
      `BUILDER_IMAGE=${image} cannot be pulled: ${reasonOf(error)}`,
      `skopeo inspect docker://${image}`,
    )
  }
}

/** As docker has it: a registry on this machine's loopback speaks plain HTTP. */
function plainHttp(prefix: string, image: string): string[] {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])[:/]/.test(image)
    ? [`--${prefix}tls-verify=false`]
    : []
}

export function splitTag(layout: string): { name: string; tag: string } {
  const [, name = layout, tag = 'latest'] = /^(.*):([^:/]*)$/.exec(layout) ?? []
  return { name, tag }
}

async function digestOf(layout: string): Promise<string> {
  const { name: dir, tag } = splitTag(layout)
  const index = JSON.parse(await readFile(join(dir, 'index.json'), 'utf8')) as {
    manifests: { digest: string; annotations?: Record<string, string> }[]
  }
  const name = 'org.opencontainers.image.ref.name'
  const found = index.manifests.find((manifest) => manifest.annotations?.[name] === tag)
  if (!found) throw new SetupError(`BUILDER_IMAGE: no image ${tag} in the OCI layout ${dir}`)
  return found.digest
}
