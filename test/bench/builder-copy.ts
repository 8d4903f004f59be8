// What the copy of a builder's disk costs that each build with a builder begins with, beside the copy of all its
// bytes, holes and all. On a file system with reflinks ours copies nothing.
import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { copyDisk } from '../../server/builders/disks.ts'
import { makeLastingDisk } from '../../server/disks/scratch-disk.ts'
import { testParts } from '../helpers/parts.ts'
import { shortMs, table, times } from './figures.ts'

const MiB = 1024 ** 2
const DISK_BYTES = 4096 * MiB
const STATES_MB = [0, 256, 1024]

export async function run(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  try {
    const lines: string[][] = []
    for (const megabytes of STATES_MB) {
      const disk = join(dir, `${megabytes}.img`)
      await makeDisk(disk, megabytes)
      const ours = await timed(() => copyDisk(disk, `${disk}.ours`))
      const taken = await stat(`${disk}.ours`)
      const bare = await timed(() => execa('cp', ['--sparse=never', disk, `${disk}.bare`]))
      lines.push([
        `${megabytes} MiB of ${DISK_BYTES / MiB}`,
        shortMs(ours),
        `${Math.round((taken.blocks * 512) / MiB)} MiB`,
        shortMs(bare),
        times(ours, bare),
      ])
      await rm(`${disk}.ours`)
      await rm(`${disk}.bare`)
    }
    console.log(table([['state', 'copied in', 'takes', 'cp of all', 'ratio'], ...lines]))
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** With so much in it, as scattered as a file system's blocks are. */
async function makeDisk(file: string, megabytes: number): Promise<void> {
  const { mkfsExt4 } = await testParts()
  await makeLastingDisk(file, { bytes: DISK_BYTES, mkfsExt4 })
  const handle = await open(file, 'r+')
  const block = Buffer.alloc(MiB, 0xa5)
  for (let n = 0; n < megabytes; n += 1) await handle.write(block, 0, MiB, (n * 3 + 64) * MiB)
  await handle.sync()
  await handle.close()
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await work()
  return performance.now() - started
}
