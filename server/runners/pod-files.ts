// The files of a pod: a private folder for its sockets, and its disks, which are unlinked as soon as they are
// open. What has no name needs no clean-up: the kernel frees it with the last process that holds it.
import { chmod, chown, type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeConfigDisk } from '../disks/config-disk.ts'
import { makeScratchDisk } from '../disks/scratch-disk.ts'
import { SOCKET_PATH_BYTES_MAX } from '../limits.ts'
import type { UserIds } from '../setup/users.ts'
import type { PodSpec } from './runner.ts'

export interface PodPaths {
  /** Holds the record; the server's own. */
  folder: string
  record: string
  /** Holds the sockets; belongs to the user the VM runs as. */
  sockets: string
  vhostSocket: string
  guestSocket: string
  /** Where a sandbox on the host's kernel has its mounts, seen by nobody else. */
  root: string
  state: string
  /** Disks for the moment before they are unlinked; the server's own. */
  disks: string
}

export function podPaths(runDir: string, dataDir: string, id: string): PodPaths {
  const folder = join(runDir, id)
  const sockets = join(folder, 's')
  return {
    folder,
    record: join(folder, 'record.json'),
    sockets,
    vhostSocket: join(sockets, 'vhost'),
    guestSocket: join(sockets, 'vm'),
    root: join(folder, 'root'),
    state: join(folder, 'state'),
    disks: join(dataDir, 'pods', id),
  }
}

/** Where the vsock device looks for a listener when the guest dials this port of the host. */
export function servicePath(paths: PodPaths, port: number): string {
  return `${paths.guestSocket}_${port}`
}

export async function makePodFolders(paths: PodPaths, user: UserIds | null): Promise<void> {
  const longest = `${paths.guestSocket}_00000`
  if (Buffer.byteLength(longest) > SOCKET_PATH_BYTES_MAX) {
    throw new Error(`${longest} is too long for a unix socket; use a shorter runtime folder`)
  }
  await mkdir(paths.folder, { recursive: false, mode: 0o711 })
  // The umask may have taken the bits that let the VM's user walk through.
  await chmod(paths.folder, 0o711)
  await mkdir(paths.sockets, { mode: 0o700 })
  if (user) await chown(paths.sockets, user.uid, user.gid)
  await mkdir(paths.disks, { recursive: true, mode: 0o700 })
}

export interface PodDisks {
  builder: FileHandle
  scratch: FileHandle
  source: FileHandle
  config: FileHandle
  cache: FileHandle | undefined
}

/** Opens what the guest will see; on failure nothing stays open. */
export async function openPodDisks(
  spec: PodSpec,
  { paths, builderDisk, mkfsExt4 }: { paths: PodPaths; builderDisk: string; mkfsExt4: string },
): Promise<PodDisks> {
  const scratchFile = join(paths.disks, 'scratch.img')
  const configFile = join(paths.disks, 'config.json')
  const opened: FileHandle[] = []
  const track = async (file: string, flags: string) => {
    const handle = await open(file, flags)
    opened.push(handle)
    return handle
  }
  try {
    await makeConfigDisk(configFile, spec.config)
    const config = await track(configFile, 'r')
    await rm(configFile)
    await makeScratchDisk(scratchFile, { bytes: spec.diskBytes, mkfsExt4 })
    const scratch = await track(scratchFile, 'r+')
    await rm(scratchFile)
    const builder = await track(builderDisk, 'r')
    const source = await track(spec.sourceFile, 'r')
    const cache = spec.cacheFile === undefined ? undefined : await track(spec.cacheFile, 'r+')
    await rm(paths.disks, { recursive: true })
    return { builder, scratch, source, config, cache }
  } catch (error) {
    await Promise.all(opened.map((handle) => handle.close()))
    throw error
  }
}

export async function closePodDisks(disks: PodDisks): Promise<void> {
  const handles: (FileHandle | undefined)[] = Object.values(disks)
  await Promise.all(handles.map((handle) => handle?.close()))
}

export async function removePodFolders(paths: PodPaths): Promise<void> {
  await rm(paths.disks, { recursive: true, force: true })
  // The record goes last: while it is there, a later sweep knows what else may be left.
  await rm(paths.sockets, { recursive: true, force: true })
  await rm(paths.folder, { recursive: true, force: true })
}
