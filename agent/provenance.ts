// The inputs of a build, as found out by the agent: base images by digest, lock files by hash.
import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { BASE_IMAGES_MAX, LOCKFILE_BYTES_MAX } from './limits.ts'
import { type BaseImage, type BuildConfig, DOCKERFILE_STEP, type Provenance } from './protocol.ts'
import type { RawVertex } from './rawjson.ts'

const LOCKFILES = [
  'package-lock.json',
  'yarn.lock',
  'pnpm-lock.yaml',
  'requirements.txt',
  'poetry.lock',
  'Pipfile.lock',
]
const FROM = /^(?:\[[^\]]*\] )?FROM (\S+)@(sha256:[0-9a-f]{64})$/
const READ_BYTES = 1024 * 1024

export interface ProvenanceFacts {
  config: BuildConfig
  vertices: ReadonlyMap<string, RawVertex>
  buildkitVersion: string
  completedAt: Date
}

export function provenanceOf(facts: ProvenanceFacts): Provenance {
  const { config, vertices, buildkitVersion, completedAt } = facts
  const images = baseImages(vertices, config).slice(0, BASE_IMAGES_MAX)
  const final = finalBaseDigest(vertices)
  const lockfiles = lockfileHashes(config.source_path)
  return {
    ...(final ? { base_image_digest: final } : {}),
    ...(images.length > 0 ? { base_images: images } : {}),
    source_hash: config.source_hash,
    ...(Object.keys(lockfiles).length > 0 ? { lockfile_hashes: lockfiles } : {}),
    buildkit_version: buildkitVersion,
    timestamp: completedAt.toISOString(),
  }
}

/** Every FROM that was really resolved and used; our registry by its public name. */
export function baseImages(
  vertices: ReadonlyMap<string, RawVertex>,
  config: Pick<BuildConfig, 'registry_url' | 'registry_public_name'>,
): BaseImage[] {
  const images = new Map<string, BaseImage>()
  for (const vertex of vertices.values()) {
    const [, name, digest] = FROM.exec(vertex.name ?? '') ?? []
    if (!name || !digest || !(vertex.completed || vertex.cached)) continue
    const ref = name.startsWith(`${config.registry_url}/`)
      ? `${config.registry_public_name}${name.slice(config.registry_url.length)}`
      : name
    images.set(`${ref}@${digest}`, { ref, digest })
  }
  return [...images.values()]
}

/** The base of the image itself: from its last step along the parent layers to a FROM; absent for scratch. */
export function finalBaseDigest(vertices: ReadonlyMap<string, RawVertex>): string | undefined {
  const steps = [...vertices.values()].filter((vertex) => DOCKERFILE_STEP.test(vertex.name ?? ''))
  const used = new Set(steps.flatMap((vertex) => vertex.inputs ?? []))
  const last = steps.filter((vertex) => !used.has(vertex.digest))
  if (last.length !== 1) return undefined
  let vertex = last[0]
  // Each round goes to an input, and a build graph has no cycles; the bound is for a stream that lies.
  for (let round = 0; vertex && round < vertices.size; round += 1) {
    const from = FROM.exec(vertex.name ?? '')
    if (from) return from[2]
    vertex = parentLayer(vertex, vertices)
  }
  return undefined
}

function parentLayer(
  vertex: RawVertex,
  vertices: ReadonlyMap<string, RawVertex>,
): RawVertex | undefined {
  const [parent, ...others] = vertex.inputs ?? []
  const isCopy = /^\[[^\]]*\] (?:COPY|ADD) /.test(vertex.name ?? '')
  // A copy with one input copies onto nothing: its input is where the files come from.
  if (parent === undefined || (isCopy && others.length === 0)) return undefined
  return vertices.get(parent)
}

/** At the top level of the source only; links are not followed. */
export function lockfileHashes(folder: string): Record<string, string> {
  const hashes: Record<string, string> = {}
  for (const name of LOCKFILES) {
    const hash = hashFile(`${folder}/${name}`)
    if (hash) hashes[name] = hash
  }
  return hashes
}

function hashFile(path: string): string | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    // Not there, or a link: nothing to record.
    return undefined
  }
  try {
    const { size } = fstatSync(fd)
    if (!fstatSync(fd).isFile() || size > LOCKFILE_BYTES_MAX) return undefined
    const hash = createHash('sha256')
    const buffer = Buffer.alloc(READ_BYTES)
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) {
      hash.update(buffer.subarray(0, n))
    }
    return `sha256:${hash.digest('hex')}`
  } finally {
    closeSync(fd)
  }
}
