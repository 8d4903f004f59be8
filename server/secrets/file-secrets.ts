// Secrets as files: `<folder>/<tenant>/<id>`, then `<folder>/shared/<id>`. Regular files only, no link is
// followed on the way, and a file that is there and can't be used is an error, never "not set".
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { isTenantName, SHARED } from '../auth/tenant.ts'
import { SecretId } from '../builds/request-schema.ts'
import { SECRET_BYTES_MAX } from '../limits.ts'
import type { SecretProvider } from './provider.ts'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants

export function createFileSecrets({ folder }: { folder: string }): SecretProvider {
  async function find(id: string, tenant: string): Promise<Buffer | undefined> {
    for (const owner of [tenant, SHARED]) {
      const value = await readBelow(folder, owner, id)
      if (value !== undefined) return value
    }
    return undefined
  }

  return {
    async resolve(ids, { tenant }) {
      const found = new Map<string, Buffer>()
      if (!isTenantName(tenant)) return found
      for (const id of ids) {
        if (!SecretId.safeParse(id).success) continue
        const value = await find(id, tenant)
        if (value !== undefined) found.set(id, value)
      }
      return found
    },
  }
}

/** The owner's folder is opened first and the file below it, so that neither can be a link to elsewhere. */
async function readBelow(folder: string, owner: string, id: string): Promise<Buffer | undefined> {
  const shown = join(owner, id)
  const dir = await openExisting(join(folder, owner), O_DIRECTORY, shown)
  if (!dir) return undefined
  try {
    const file = await openExisting(`/proc/self/fd/${dir.fd}/${id}`, O_NONBLOCK, shown)
    if (!file) return undefined
    try {
      return await readWhole(file, shown)
    } finally {
      await file.close()
    }
  } finally {
    await dir.close()
  }
}

// The sentences end up in the failed build, so they name the file below BUILD_SECRETS_DIR, not the folder.
async function openExisting(
  path: string,
  flag: number,
  shown: string,
): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_RDONLY | O_NOFOLLOW | flag)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    const isNoFile = code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO'
    const why = isNoFile ? 'it, or its folder, is a link or of another kind' : code
    throw new Error(`the secret file ${shown} cannot be used: ${why}`)
  }
}

async function readWhole(file: FileHandle, shown: string): Promise<Buffer> {
  const stat = await file.stat()
  if (!stat.isFile()) throw new Error(`the secret file ${shown} is not a regular file`)
  const buffer = Buffer.alloc(SECRET_BYTES_MAX + 1)
  let bytes = 0
  while (bytes < buffer.length) {
    const { bytesRead } = await file.read(buffer, bytes, buffer.length - bytes)
    if (bytesRead === 0) return Buffer.from(buffer.subarray(0, bytes))
    bytes += bytesRead
  }
  throw new Error(`the secret file ${shown} is larger than ${SECRET_BYTES_MAX} bytes`)
}
