// The garbage collection of the registry: for how long pushes are held while it frees half of 100, 1,000 and
// 10,000 blobs, and what it takes in all, beside distribution's own, for whose whole time pushes would be held.
import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { createOwnRegistry } from '../../server/registry/own/own-registry.ts'
import { collected, HOUR_MS, imageOf } from '../helpers/garbage.ts'
import { testParts } from '../helpers/parts.ts'
import { shortMs, table, times } from './figures.ts'

const BLOBS = [100, 1_000, 10_000]
const LAYERS_PER_IMAGE = 8
const IMAGES_PER_REPOSITORY = 50
const BLOB_BYTES = 1_024

export async function run(): Promise<void> {
  const { registry } = await testParts()
  const rows: string[][] = []
  for (const blobs of BLOBS) {
    const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
    try {
      const [ours, theirs] = [join(dir, 'ours'), join(dir, 'theirs')]
      await fill(ours, blobs)
      await cp(ours, theirs, { recursive: true, preserveTimestamps: true })
      const began = performance.now()
      const done = await collected(createOwnRegistry({ socketPath: '', dataDir: ours }))
      const ms = performance.now() - began
      const theirsMs = await theirOwn(registry, theirs)
      rows.push([
        String(blobs),
        String(done.blobsBefore - done.blobsAfter),
        shortMs(done.stallMaxMs),
        shortMs(done.stallMs),
        shortMs(ms),
        shortMs(theirsMs),
        times(done.stallMaxMs, theirsMs),
      ])
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
  const head = ['blobs', 'freed', 'longest stall', 'all stalls', 'in all', 'distribution', 'ratio']
  console.log(table([head, ...rows]))
}

async function theirOwn(binary: string, dataDir: string): Promise<number> {
  const config = join(dataDir, 'config.json')
  const storage = { filesystem: { rootdirectory: dataDir }, delete: { enabled: true } }
  await writeFile(config, JSON.stringify({ version: 0.1, storage }))
  const began = performance.now()
  await execa(binary, ['garbage-collect', '--quiet', config], {
    env: { OTEL_TRACES_EXPORTER: 'none' },
  })
  return performance.now() - began
}

/** Images as they lie on distribution's disk; every other one is no longer named by a manifest. */
async function fill(dataDir: string, blobs: number): Promise<void> {
  const root = join(dataDir, 'docker/registry/v2')
  const old = new Date(Date.now() - 24 * HOUR_MS)
  const config = Buffer.from('{}')
  async function put(bytes: Buffer, link: string | undefined): Promise<void> {
    const hex = createHash('sha256').update(bytes).digest('hex')
    const folder = join(root, 'blobs/sha256', hex.slice(0, 2), hex)
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'data'), bytes)
    if (link === undefined) return
    await mkdir(join(root, 'repositories', link, 'sha256', hex), { recursive: true })
    const file = join(root, 'repositories', link, 'sha256', hex, 'link')
    await writeFile(file, `sha256:${hex}`)
    await utimes(file, old, old)
  }
  const images = Math.ceil(blobs / (LAYERS_PER_IMAGE + 1))
  for (let image = 0; image < images; image += 1) {
    const repo = `apps/acme/app${Math.floor(image / IMAGES_PER_REPOSITORY)}`
    const layers = Array.from({ length: LAYERS_PER_IMAGE }, (_, n) =>
      Buffer.alloc(BLOB_BYTES, `layer ${image} ${n} `),
    )
    for (const bytes of [config, ...layers]) await put(bytes, `${repo}/_layers`)
    const isDeleted = image % 2 === 1
    const manifest = Buffer.from(imageOf(config, layers))
    await put(manifest, isDeleted ? undefined : `${repo}/_manifests/revisions`)
  }
}
