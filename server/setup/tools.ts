// The programs that come from Debian packages: which they are, where they are on this machine, and which
// packages bring the missing ones.
import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { SetupError } from './cache.ts'
import type { Apt } from './debian.ts'
import { setupEnv } from './env.ts'

/** Tool → package that brings it, on Debian and Ubuntu alike. */
export const TOOL_PACKAGES = {
  'qemu-system-x86_64': 'qemu-system-x86',
  umoci: 'umoci',
  skopeo: 'skopeo',
  mmdebstrap: 'mmdebstrap',
  mksquashfs: 'squashfs-tools',
  'mkfs.ext4': 'e2fsprogs',
  busybox: 'busybox-static',
  modprobe: 'kmod',
  cpio: 'cpio',
  setpriv: 'util-linux',
  useradd: 'passwd',
} as const

export type Tool = keyof typeof TOOL_PACKAGES
export type Tools = Record<Tool, string>

/** Verifies the packages of the guest's Debian; a file, because Ubuntu does not have it by itself. */
export const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
const KEYRING_PACKAGE = 'debian-archive-keyring'

/** Absolute path of a tool, or undefined. */
export async function which(tool: string): Promise<string | undefined> {
  for (const folder of setupEnv().searchPath) {
    const path = join(folder, tool)
    if (await isExecutable(path)) return path
  }
  return undefined
}

/** Finds every tool, installing the packages of those that are missing. */
export async function ensureTools(apt: Apt): Promise<Tools> {
  const before = await findTools()
  const missing = missingPackages(before.tools, before.keyring)
  if (missing.length === 0) return before.tools as Tools
  await apt.install(missing)
  const after = await findTools()
  const still = missingPackages(after.tools, after.keyring)
  if (still.length > 0) {
    const repair = `apt-get install --reinstall ${still.join(' ')}`
    throw new SetupError(`still missing after the installation: ${still.join(', ')}`, repair)
  }
  return after.tools as Tools
}

export async function findTools(): Promise<{ tools: Partial<Tools>; keyring: boolean }> {
  const names = Object.keys(TOOL_PACKAGES) as Tool[]
  const paths = await Promise.all(names.map(which))
  const tools: Partial<Tools> = {}
  for (const [i, name] of names.entries()) if (paths[i]) tools[name] = paths[i]
  return { tools, keyring: await isReadable(DEBIAN_KEYRING) }
}

/** Packages to install, sorted and each once. */
export function missingPackages(tools: Partial<Tools>, keyring: boolean): string[] {
  const missing = new Set<string>(keyring ? [] : [KEYRING_PACKAGE])
  for (const [tool, name] of Object.entries(TOOL_PACKAGES)) {
    if (!tools[tool as Tool]) missing.add(name)
  }
  return [...missing].sort()
}

const isExecutable = (path: string) => allows(path, constants.X_OK)
const isReadable = (path: string) => allows(path, constants.R_OK)

function allows(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  )
}
