// What a manifest names: its config and layers, or the manifests of an index.
import { z } from 'zod'
import { isDigest } from './names.ts'

const Part = z.object({ digest: z.string().refine(isDigest), size: z.number().catch(0) })
export type Part = z.infer<typeof Part>

const Manifest = z.object({
  config: Part.optional().catch(undefined),
  layers: z.array(Part).catch([]),
  manifests: z.array(Part).catch([]),
})

export interface ManifestParts {
  /** Config and layers. */
  blobs: Part[]
  manifests: Part[]
}

/** What can't be read names nothing. */
export function manifestParts(body: Buffer): ManifestParts {
  const { config, layers, manifests } = parse(body)
  return { blobs: [...(config ? [config] : []), ...layers], manifests }
}

function parse(body: Buffer): z.infer<typeof Manifest> {
  try {
    return Manifest.parse(JSON.parse(body.toString('utf8')))
  } catch {
    return { config: undefined, layers: [], manifests: [] }
  }
}

export function bytesOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}
