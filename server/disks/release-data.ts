// Which system builds run in: os-release of the builder image, read without mounting or running it.
import { constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execa } from 'execa'

const READ_DEADLINE_MS = 30_000
const BYTES_MAX = 64 * 1024
/** /etc/os-release is a link to it by convention; a link of an image is not followed on the host. */
const RELEASE_FILE = 'usr/lib/os-release'

/** `unsquashfs` comes with mksquashfs. Empty when the image has no os-release. */
export async function releaseDataOf(
  disk: string,
  { mksquashfs }: { mksquashfs: string },
): Promise<Record<string, string>> {
  const unsquashfs = join(dirname(mksquashfs), 'unsquashfs')
  const { stdout } = await execa(unsquashfs, ['-cat', disk, RELEASE_FILE], {
    reject: false,
    timeout: READ_DEADLINE_MS,
    maxBuffer: BYTES_MAX,
  })
  return parseOsRelease(stdout ?? '')
}

/** The same of an unpacked image. */
export async function readReleaseData(rootfs: string): Promise<Record<string, string>> {
  const flag = constants.O_RDONLY | constants.O_NOFOLLOW
  const file = join(rootfs, RELEASE_FILE)
  return parseOsRelease(await readFile(file, { encoding: 'utf8', flag }).catch(() => ''))
}

/** Lines `NAME=value`, the value perhaps in quotes. */
export function parseOsRelease(text: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line.trim()) ?? []
    if (name && value !== undefined) found[name] = value.replace(/^(["'])(.*)\1$/, '$2')
  }
  return found
}
