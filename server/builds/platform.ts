// Platforms as seed 004 writes them: `os/arch` or `os/arch/variant`. Builds are native, so one is taken.
import { invalidRequest } from '../errors.ts'

export interface Platform {
  os: string
  arch: string
  variant?: string
}

/** node's names → those of images. */
const ARCHITECTURES: Partial<Record<NodeJS.Architecture, Platform>> = {
  x64: { os: 'linux', arch: 'amd64' },
  arm64: { os: 'linux', arch: 'arm64', variant: 'v8' },
}

export function parsePlatform(text: string): Platform {
  const match = /^([a-z0-9_]+)\/([a-z0-9_]+)(?:\/([a-z0-9_]+))?$/.exec(text)
  if (!match) {
    const shown = JSON.stringify(text.slice(0, 100))
    throw invalidRequest(`invalid platform ${shown}: must be os/arch or os/arch/variant`)
  }
  const [, os = '', arch = '', variant] = match
  return { os, arch, ...(variant === undefined ? {} : { variant }) }
}

/** Throws unless it is the platform this machine builds for. */
export function requireNative(text: string, machine: NodeJS.Architecture = process.arch): void {
  const { os, arch, variant } = parsePlatform(text)
  const native = ARCHITECTURES[machine] ?? { os: 'linux', arch: machine }
  const isNative =
    os === native.os && arch === native.arch && (variant ?? native.variant) === native.variant
  if (isNative) return
  throw invalidRequest(
    `platform ${text} is not built here: only ${native.os}/${native.arch}, which this server runs on`,
  )
}
