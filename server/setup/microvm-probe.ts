// Whether a guest boots on this machine, and under what. A look at /dev/kvm proves nothing (some machines
// have it and cannot boot a stock kernel), so a guest is booted to its init, with the rights it will have
// later. The answer is remembered for as long as kernel, QEMU and machine stay the same.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { release } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { machineArgs } from '../runners/qemu-args.ts'
import { unprivileged } from '../runners/unprivileged.ts'
import { exists } from './cache.ts'
import type { Parts } from './parts-types.ts'
import type { UserIds } from './users.ts'

export type Accel = 'kvm' | 'tcg'

export interface MicroVmProbe {
  /** null: no guest boots here. */
  accel: Accel | null
  /** From the start of QEMU to the end of a guest that ends in its init; 0 when none did. */
  bootMs: number
  /** One sentence for each attempt that failed. */
  reasons: string[]
}

export interface ProbeOptions {
  parts: Pick<
    Parts,
    'cacheDir' | 'qemu' | 'qemuVersion' | 'kernel' | 'kernelVersion' | 'initramfs' | 'setpriv'
  >
  /** As whom the VM runs; null = the caller. */
  user: UserIds | null
}

/** A guest under KVM is up in well under a second; where KVM does not work it hangs. */
const DEADLINE_MS: Record<Accel, number> = { kvm: 5_000, tcg: 60_000 }
const KVM_DEVICE = '/dev/kvm'
/** What images/kernel/init prints; the word on the kernel's command line makes it do so and power off. */
const PROBE_WORD = 'hypeman.probe=1'
const PROBE_ANSWER = 'hypeman-probe: init reached'
const OUTPUT_BYTES_MAX = 64 * 1024

export async function probeMicroVm(options: ProbeOptions): Promise<MicroVmProbe> {
  const file = await memoryFile(options)
  const known = await recall(file)
  if (known) return known
  const probe = await tryBoth(options)
  // A failure is not remembered: what is repaired must count at once.
  if (probe.accel) await remember(file, probe)
  return probe
}

async function tryBoth(options: ProbeOptions): Promise<MicroVmProbe> {
  const reasons: string[] = []
  for (const accel of ['kvm', 'tcg'] as const) {
    const started = performance.now()
    const failure = await boot(accel, options)
    if (failure === undefined)
      return { accel, bootMs: Math.round(performance.now() - started), reasons }
    reasons.push(`${accel}: ${failure}`)
  }
  return { accel: null, bootMs: 0, reasons }
}

/** Boots once; returns why it failed, or undefined. Nothing of it remains in either case. */
async function boot(accel: Accel, { parts, user }: ProbeOptions): Promise<string | undefined> {
  const { qemu, kernel, initramfs, setpriv } = parts
  if (accel === 'kvm' && !(await exists(KVM_DEVICE))) return `there is no ${KVM_DEVICE}`
  const args = machineArgs({ accel, cpus: 1, memoryMb: 256, kernel, initramfs }, PROBE_WORD)
  const command = unprivileged({ setpriv, user }, { file: qemu, args })
  const child = spawn(command.file, command.args, {
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: DEADLINE_MS[accel],
    killSignal: 'SIGKILL',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_BYTES_MAX)
    })
  }
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    if (output.includes(PROBE_ANSWER)) return undefined
    return describeFailure({ accel, code, signal, output })
  } catch (error) {
    return `${qemu} cannot be started: ${(error as Error).message}`
  }
}

export interface Failure {
  accel: Accel
  code: number | null
  signal: string | null
  output: string
}

/** One sentence: how it ended and what was said last. */
export function describeFailure({ accel, code, signal, output }: Failure): string {
  const last = output.trim().split('\n').at(-1)?.trim().slice(0, 200)
  const seconds = DEADLINE_MS[accel] / 1000
  const how =
    signal === 'SIGKILL'
      ? `no guest reached its init within ${seconds} s`
      : `QEMU ended with ${signal ?? `exit code ${code}`} before the guest reached its init`
  return last ? `${how} (last words: ${last})` : how
}

/** Named after everything that could change the answer. */
async function memoryFile({ parts, user }: ProbeOptions): Promise<string> {
  const facts = [
    `qemu-${parts.qemuVersion}`,
    parts.kernelVersion,
    basename(dirname(parts.initramfs)),
    `host-${release()}`,
    `uid-${user?.uid ?? process.getuid?.() ?? 0}`,
    await kvmRights(),
  ]
  const name = facts.join('_').replace(/[^\w.-]/g, '-')
  return join(parts.cacheDir, 'microvm-probe', `${name}.json`)
}

async function recall(file: string): Promise<MicroVmProbe | undefined> {
  try {
    const known = JSON.parse(await readFile(file, 'utf8')) as MicroVmProbe
    return known.accel === 'kvm' || known.accel === 'tcg' ? known : undefined
  } catch {
    return undefined // not there, or half written by a killed process: the probe runs again
  }
}

async function remember(file: string, probe: MicroVmProbe): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}.tmp`
  await writeFile(temporary, `${JSON.stringify(probe)}\n`)
  await rename(temporary, file)
}

/** Changes when somebody gets or loses the right to use the device. */
async function kvmRights(): Promise<string> {
  const device = await stat(KVM_DEVICE).catch(() => undefined)
  return device ? `kvm-${device.mode.toString(8)}-${device.uid}-${device.gid}` : 'no-kvm'
}
