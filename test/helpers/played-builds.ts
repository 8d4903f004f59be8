// What a played guest ends with when all went well.
import type { BuildResult } from '../../agent/protocol.ts'
import type { PodExit } from '../../server/runners/runner.ts'
import { DIGEST } from './fake-worker.ts'

export const WELL: PodExit = { code: 0, signal: null, stopped: false }

export function goodResult(more: Partial<BuildResult> = {}): BuildResult {
  return {
    success: true,
    image_digest: DIGEST,
    provenance: { source_hash: '', buildkit_version: 'v0.33.1', timestamp: '' },
    duration_ms: 1,
    ...more,
  }
}
