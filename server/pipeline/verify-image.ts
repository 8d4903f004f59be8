// The agent's word is not enough: what it says it has pushed must be in the registry.
import type { BuildResult } from '../../agent/protocol.ts'
import type { FoundImage } from '../registry/find-image.ts'
import { BuildFailure } from './failure.ts'

export async function verifyImage(
  build: { id: string },
  result: BuildResult,
  findImage: (repository: string, digest: string) => Promise<FoundImage | undefined>,
): Promise<FoundImage> {
  const digest = result.image_digest
  if (!digest) throw new BuildFailure('infra', 'the agent reported success without a digest')
  const image = await findImage(`builds/${build.id}`, digest)
  if (image) return image
  throw new BuildFailure('registry', `the registry has no image builds/${build.id}@${digest}`)
}
