// What a manifest says of the one it refers to, as the referrers API lists it.
import { z } from 'zod'
import { REFERRER_BYTES_MAX } from '../limits.ts'
import { parseJson } from '../parse-json.ts'
import { isDigest } from './names.ts'

/** Of artifacts and of media: printable, so that it may go into a query and a column. */
const TYPE = /^[\x21-\x7e]{1,255}$/

export function isArtifactType(text: string): boolean {
  return TYPE.test(text)
}

/** One entry of a referrers index. */
export const ReferrerDescriptor = z.object({
  mediaType: z.string().regex(TYPE),
  digest: z.string().refine(isDigest),
  size: z.number().int().nonnegative(),
  artifactType: z.string().regex(TYPE).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
})
export type ReferrerDescriptor = z.infer<typeof ReferrerDescriptor>

export interface Referrer {
  subject: string
  descriptor: ReferrerDescriptor
}

const Manifest = z.object({
  subject: z.object({ digest: z.string().refine(isDigest) }),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: z.object({ mediaType: z.string() }).optional().catch(undefined),
  annotations: z.record(z.string(), z.string()).optional().catch(undefined),
})

/** undefined when it refers to none; whether it is a manifest at all the registry decides. */
export function referrerOf(
  body: Buffer,
  { digest, contentType }: { digest: string; contentType: string },
): Referrer | undefined {
  const parsed = Manifest.safeParse(parseJson(body))
  if (!parsed.success) return undefined
  const { subject, mediaType = contentType, artifactType, config, annotations } = parsed.data
  const type = artifactType || config?.mediaType || ''
  const descriptor = {
    mediaType: isArtifactType(mediaType) ? mediaType : 'application/octet-stream',
    digest,
    size: body.length,
    ...(isArtifactType(type) ? { artifactType: type } : {}),
  }
  const annotated = annotations ? { ...descriptor, annotations } : descriptor
  const fits = Buffer.byteLength(JSON.stringify(annotated)) <= REFERRER_BYTES_MAX
  return { subject: subject.digest, descriptor: fits ? annotated : descriptor }
}
