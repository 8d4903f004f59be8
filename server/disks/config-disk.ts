// /config/build.json on its way into the guest: JSON on a raw disk, padded with NUL to whole sectors. It
// holds the build's registry token, so the file is 0600 and must be unlinked as soon as it is open.
import { writeFile } from 'node:fs/promises'
import type { BuildConfig } from '../../agent/protocol.ts'

const SECTOR_BYTES = 512

export async function makeConfigDisk(file: string, config: BuildConfig): Promise<void> {
  await writeFile(file, configSectors(config), { mode: 0o600, flag: 'wx' })
}

/** At least one NUL always follows the text, so that its end can be seen. */
export function configSectors(config: BuildConfig): Buffer {
  const text = Buffer.from(JSON.stringify(config))
  const bytes = Math.ceil((text.length + 1) / SECTOR_BYTES) * SECTOR_BYTES
  return Buffer.concat([text], bytes)
}
