// The QEMU runner: a fresh microVM per build. Usable when the probe has really booted a guest here; a look at
// /dev/kvm proves nothing (DESIGN §5).
import { releaseDataOf } from '../disks/release-data.ts'
import type { Parts } from '../setup/parts-types.ts'
import type { Users } from '../setup/users.ts'
import type { Accel } from './qemu-args.ts'
import { startQemuPod } from './qemu-pod.ts'
import type { Runner } from './runner.ts'
import { createRunner, type RunnerFolders } from './runner-base.ts'

export interface QemuProbe {
  /** null when no guest boots on this machine. */
  accel: Accel | null
  /** One sentence per attempt that failed. */
  reasons: readonly string[]
}

export interface QemuRunnerOptions extends RunnerFolders {
  parts: Parts
  users: Users
  builderDisk: string
  probe(): Promise<QemuProbe>
}

export function createQemuRunner(options: QemuRunnerOptions): Runner {
  const { parts, users, builderDisk, log } = options
  let probed: Promise<QemuProbe> | undefined
  const probe = () => {
    probed ??= options.probe()
    return probed
  }
  return createRunner(
    {
      name: 'qemu',
      boundary: 'machine',
      releaseData: () => releaseDataOf(builderDisk, parts),
      async unusableReason() {
        const { accel, reasons } = await probe()
        if (accel) return null
        return `no guest boots under QEMU here: ${reasons.join('; ')}. \`npm run doctor\` shows details.`
      },
      async startPod(spec, paths, signal) {
        const { accel } = await probe()
        const host = { parts, user: users.vm, accel: accel!, builderDisk, paths, log }
        return startQemuPod(spec, host, signal)
      },
    },
    options,
  )
}
