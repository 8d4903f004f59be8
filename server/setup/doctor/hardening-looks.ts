// What of the hardening holds on this machine (DESIGN §4.9). None of it is needed to build; what does not
// hold is said, with what would make it hold.
import { stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { createCgroup } from '../../runners/cgroup.ts'
import { unprivileged } from '../../runners/unprivileged.ts'
import { exists } from '../cache.ts'
import { isRoot } from '../debian.ts'
import type { MicroVmProbe } from '../microvm-probe.ts'
import { isReachable } from '../stage.ts'
import { which } from '../tools.ts'
import { findUsers, USER_NAMES, type Users } from '../users.ts'
import type { Found, Look } from './look.ts'

const AS_ROOT = 'start the server as root: it gives its rights away itself, part by part'
const TRIAL_LIMITS = { memoryBytes: 64 * 1024 * 1024, tasks: 16, cpus: 1 }

export interface HardeningOptions {
  dataDir: string
  /** undefined when it could not be tried. */
  probe: MicroVmProbe | undefined
}

export function hardeningLooks({ dataDir, probe }: HardeningOptions): Look[] {
  const roles = Object.keys(USER_NAMES) as (keyof Users)[]
  const look = (name: string, repair: string, what: () => Promise<Found>) => ({
    name,
    isNeeded: false,
    repair,
    look: what,
  })
  return [
    ...roles.map((role) => look(`user ${USER_NAMES[role]}`, AS_ROOT, () => lookAtUser(role))),
    look('QEMU sandbox', 'npm run setup', async () => lookAtSandbox(probe)),
    look('cgroup limits', AS_ROOT, lookAtCgroups),
    look('DATA_DIR reachable', `chmod o+x ${dataDir}`, () => lookAtDataDir(dataDir)),
  ]
}

/** Becomes the user for a moment, with the very switches that the server uses. */
async function lookAtUser(role: keyof Users): Promise<Found> {
  if (!isRoot()) {
    throw new Error(`not root, so everything runs as ${userInfo().username}`)
  }
  const user = (await findUsers())[role]
  if (!user) throw new Error('not made yet; the first start makes it')
  const setpriv = await which('setpriv')
  if (!setpriv) throw new Error('there is no setpriv')
  const command = { file: '/usr/bin/id', args: ['-u'] }
  const { file, args } = unprivileged({ setpriv, user }, command)
  const { stdout } = await execa(file, args, { cwd: '/', timeout: 10_000 })
  if (stdout.trim() !== String(user.uid)) throw new Error(`setpriv gave the user id ${stdout}`)
  return { version: `uid ${user.uid}`, from: 'setpriv, no new privileges, no capabilities' }
}

/** The probe's guest ran with the sandbox on: one that was refused would not have booted. */
function lookAtSandbox(probe: MicroVmProbe | undefined): Found {
  if (!probe?.accel) throw new Error('no guest was booted, so it was not tried')
  return { version: 'seccomp', from: 'qemu -sandbox on' }
}

async function lookAtCgroups(): Promise<Found> {
  const cgroup = await createCgroup(`doctor-${process.pid}`, TRIAL_LIMITS)
  await cgroup.remove()
  const [first] = cgroup.paths
  if (!first) throw new Error('no control group can be made under /sys/fs/cgroup')
  const isV2 = await exists('/sys/fs/cgroup/cgroup.controllers')
  return { version: isV2 ? 'v2' : `v1, ${cgroup.paths.length} of 3`, from: dirname(first) }
}

async function lookAtDataDir(dataDir: string): Promise<Found> {
  let present = dataDir
  while (!(await exists(present))) present = dirname(present)
  const version = present === dataDir ? 'exists' : 'not made yet'
  if (!isRoot()) return { version, from: dataDir }
  const isOpen =
    ((await stat(present)).mode & 0o001) !== 0 && (await isReachable(join(present, '.')))
  if (isOpen) return { version, from: dataDir }
  throw new Error(
    `the users above cannot walk to ${dataDir}: ${present} or a folder above is closed`,
  )
}
