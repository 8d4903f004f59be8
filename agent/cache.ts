// The registry cache as BuildKit is told of it, and what BuildKit tells of it. The values are CSV; config.ts has
// checked the repositories they are made of.
import type { BuildConfig } from './protocol.ts'
import type { RawVertex } from './rawjson.ts'

const IMPORT = /^importing cache manifest from (\S+)$/
const NOT_FOUND = /not found|404/i

type CacheConfig = Pick<BuildConfig, 'registry_url' | 'cache_imports' | 'cache_export'>

export function importCacheArg(reference: string): string {
  return `type=registry,ref=${reference}`
}

/** Layers that the image has are used as they are; without image-manifest some registries refuse the rest. */
export function exportCacheArg(reference: string): string {
  return `${importCacheArg(reference)},mode=max,image-manifest=true,oci-mediatypes=true,compression=gzip,compression-level=3`
}

/** In the order in which they are asked. */
export function importCacheArgs({ registry_url: registry, cache_imports = [] }: CacheConfig) {
  return cache_imports.map((repository) => importCacheArg(`${registry}/${repository}`))
}

export interface CacheImport {
  repository: string
  found: boolean
  /** For the log. */
  line: string
}

export function isCacheImport(vertex: RawVertex): boolean {
  return IMPORT.test(vertex.name ?? '')
}

/** Undefined for what is no import, or has not ended. A cache that is not there is none yet: no failure. */
export function cacheImportOf(vertex: RawVertex): CacheImport | undefined {
  const reference = IMPORT.exec(vertex.name ?? '')?.[1]
  if (reference === undefined || !vertex.completed) return undefined
  const repository = reference.slice(reference.indexOf('/') + 1).replace(/:[^:/]*$/, '')
  if (!vertex.error) return { repository, found: true, line: `Cache found at ${repository}` }
  const line = NOT_FOUND.test(vertex.error)
    ? `No cache at ${repository} yet`
    : `warning: the cache ${repository} could not be imported: ${vertex.error.slice(0, 300)}`
  return { repository, found: false, line }
}
