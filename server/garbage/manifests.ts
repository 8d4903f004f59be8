// What a manifest refers to. Read generously: every digest in it counts, whatever kind of manifest it is.
import { join } from 'node:path'
import { isDigest } from '../registry/names.ts'
import type { RegistryStorage } from '../registry/own/storage.ts'
import { textOf } from './folders.ts'

export interface References {
  /** Blobs and manifests, its subject among them. */
  digests: ReadonlySet<string>
  subject: string | undefined
}

/** Reads each once. Rejects for a manifest that is there and can't be understood. */
export type ReadManifest = (digest: string) => Promise<References>

const NONE: References = { digests: new Set(), subject: undefined }
const DEPTH_MAX = 64

export function createManifestReader(storage: RegistryStorage): ReadManifest {
  const known = new Map<string, References>()
  return async (digest) => {
    const before = known.get(digest)
    if (before) return before
    const found = await textOf(join(storage.blobFolder(digest), 'data'))
    // One whose data is not there can't be had by anybody; it may come again.
    if (found === undefined) return NONE
    const references = referencesOf(found, digest)
    known.set(digest, references)
    return references
  }
}

function referencesOf(body: string, digest: string): References {
  let manifest: unknown
  try {
    manifest = JSON.parse(body)
  } catch (cause) {
    throw new Error(`the manifest ${digest} is damaged: it is no JSON`, { cause })
  }
  const digests = new Set<string>()
  collect(manifest, digests, 0)
  const { subject } = manifest as { subject?: { digest?: unknown } }
  const of = subject?.digest
  return { digests, subject: typeof of === 'string' && isDigest(of) ? of : undefined }
}

function collect(value: unknown, found: Set<string>, depth: number): void {
  if (typeof value !== 'object' || value === null) return
  if (depth > DEPTH_MAX) throw new Error('a manifest is nested too deeply')
  for (const [name, inner] of Object.entries(value)) {
    if (name === 'digest' && typeof inner === 'string' && isDigest(inner)) found.add(inner)
    else collect(inner, found, depth + 1)
  }
}
