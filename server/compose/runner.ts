// The runner of this installation: made by configuration, what a dead server left swept, and chosen.
import { builderDisk } from '../disks/builder-disk.ts'
import { createBubblewrapRunner } from '../runners/bubblewrap.ts'
import { createQemuRunner } from '../runners/qemu.ts'
import type { Runner } from '../runners/runner.ts'
import { selectRunner } from '../runners/select.ts'
import { createCache } from '../setup/cache.ts'
import { probeMicroVm } from '../setup/microvm-probe.ts'
import { ensureBubblewrap } from '../setup/parts/bubblewrap.ts'
import type { Parts } from '../setup/parts-types.ts'
import { reachable } from '../setup/reachable.ts'
import type { Core } from './core.ts'

export interface StartedRunner {
  runner: Runner
  /** Of the builder image. */
  builderDigest: string
}

export async function startRunner(core: Core): Promise<StartedRunner> {
  const { config, log } = core
  // The parts of the others are not got, and what is weaker than a VM is not even there to be chosen.
  const builder = await builderOf(core)
  const made = await (config.runner === 'bubblewrap' ? bubblewrap : qemu)(core, builder)
  core.releasers.add('runner', () => made.close())
  await made.sweep()
  const runner = await selectRunner(config.runner, [made])
  const { PRETTY_NAME: system } = await runner.releaseData()
  log.info({ runner: runner.name, boundary: runner.boundary, system }, 'runner chosen')
  if (runner.boundary === 'shared kernel') {
    log.warn(
      { runner: runner.name, boundary: runner.boundary },
      'builds share the kernel of this machine: a weaker boundary than a VM, for code you trust; unset RUNNER for microVMs',
    )
  }
  return { runner, builderDigest: builder.digest }
}

type Builder = Pick<Parts['builder'], 'disk' | 'digest'>

async function qemu(core: Core, { disk, digest }: Builder): Promise<Runner> {
  const { parts, users, log } = core
  return createQemuRunner({
    ...foldersOf(core),
    log: log.child({ mod: 'qemu' }),
    parts,
    users,
    builderDisk: await reachable(disk, `builder-${digest.slice(7, 23)}`),
    probe: () => probeMicroVm({ parts, user: users.vm }),
  })
}

async function bubblewrap(core: Core, builder: Builder): Promise<Runner> {
  const { parts, log } = core
  return createBubblewrapRunner({
    ...foldersOf(core),
    log: log.child({ mod: 'bubblewrap' }),
    ...(await ensureBubblewrap(parts, builder)),
  })
}

const foldersOf = ({ paths }: Core) => ({ runDir: paths.podRun, dataDir: paths.dataDir })

/** The generic builder, or that of BUILDER_IMAGE. */
async function builderOf({ config, parts }: Core): Promise<Builder> {
  if (config.builderImage === undefined) return parts.builder
  const cache = createCache(parts.cacheDir)
  return builderDisk({ image: config.builderImage, cache, tools: parts })
}
