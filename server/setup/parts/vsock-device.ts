// vhost-device-vsock: the host half of the guest's vsock. As found on PATH, as Debian package (Debian 13
// has one), or built by cargo.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type Cache, exists, SetupError } from '../cache.ts'
import type { Apt } from '../debian.ts'
import { which } from '../tools.ts'

export const VSOCK_DEVICE = 'vhost-device-vsock'
const VERSION = '0.3.0'
/** What its lock file needs. */
const CARGO_MINOR_MIN = 85
const DEADLINE_MS = 1_800_000

export async function vsockDevice(cache: Cache, apt: Apt): Promise<string> {
  const found = await which(VSOCK_DEVICE)
  if (found) return found
  const isBuilt = await exists(join(cache.dir, `${VSOCK_DEVICE}-${VERSION}`))
  if (!isBuilt && (await apt.has(VSOCK_DEVICE))) {
    await apt.install([VSOCK_DEVICE])
    const installed = await which(VSOCK_DEVICE)
    if (installed) return installed
  }
  const dir = await cache.part({
    name: VSOCK_DEVICE,
    version: VERSION,
    title: `${VSOCK_DEVICE} ${VERSION} by cargo, about 2 min`,
    repair: 'npm run setup',
    build: (into) => build(apt, into),
  })
  return join(dir, 'bin', VSOCK_DEVICE)
}

async function build(apt: Apt, into: string): Promise<void> {
  const work = join(into, '.work')
  const cargo = await findCargo(apt)
  // A machine that had no Rust gets no folder of it in the user's home either.
  const home = cargo.isOurs ? { CARGO_HOME: join(work, 'home') } : {}
  const args = ['install', VSOCK_DEVICE, '--version', VERSION, '--locked', '--root', into]
  const env = { CARGO_TARGET_DIR: join(work, 'target'), ...home }
  await execa(cargo.path, args, { env, timeout: DEADLINE_MS })
  await rm(work, { recursive: true })
}

async function findCargo(apt: Apt): Promise<{ path: string; isOurs: boolean }> {
  // A linker is needed too; some machines have Rust without one.
  if (!(await which('cc'))) await apt.install(['gcc', 'libc6-dev'])
  const found = await which('cargo')
  if (found && (await minorOf(found)) >= CARGO_MINOR_MIN) return { path: found, isOurs: false }
  // Debian 12 keeps a current Rust in the packages made for its browsers.
  const names = (await apt.has('cargo-web')) ? ['cargo-web', 'rustc-web'] : ['cargo', 'rustc']
  await apt.install(names)
  const path = '/usr/bin/cargo'
  const minor = await minorOf(path)
  if (minor >= CARGO_MINOR_MIN) return { path, isOurs: true }
  throw new SetupError(
    `cargo 1.${minor} of the packages ${names.join(' ')} is too old to build ${VSOCK_DEVICE} ${VERSION}`,
    `install Rust 1.${CARGO_MINOR_MIN} or newer (rustup.rs), then npm run setup`,
  )
}

async function minorOf(cargo: string): Promise<number> {
  const { stdout = '' } = await execa(cargo, ['--version'], { reject: false })
  return cargoMinor(stdout)
}

/** `cargo 1.95.0 (f2d3ce0bd 2026-03-21)` → 95; 0 when it is no version. */
export function cargoMinor(output: string): number {
  return Number(/^cargo 1\.(\d+)/.exec(output)?.[1] ?? 0)
}
