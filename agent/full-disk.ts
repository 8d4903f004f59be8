// How big the disk of the build is, and who makes it bigger.
import { statfsSync } from 'node:fs'
import type { BuildConfig } from './protocol.ts'

const STATE = '/var/lib/buildkit'
const SOURCE = '/src'

type DiskConfig = Pick<BuildConfig, 'cache_disk'>

/** Of BuildKit's state: the builder's disk where the build has one. */
export function fullBuildDisk({ cache_disk: builder }: DiskConfig, path = STATE): string {
  const limit = builder
    ? 'raise disk_size_gb of its builder'
    : 'its operator may raise BUILD_DISK_GB'
  return `the build's disk${size(path)} is full; ${limit}`
}

export function fullSourceDisk(path = SOURCE): string {
  return `the build's disk${size(path)} is full; its operator may raise BUILD_DISK_GB`
}

function size(path: string): string {
  try {
    const { blocks, bsize } = statfsSync(path)
    return ` of ${((blocks * bsize) / 1024 ** 3).toFixed(1)} GiB`
  } catch {
    return '' // it is not there: what failed says so
  }
}
