// A valid build configuration; a test changes what it is about.
import type { BuildConfig } from '../../../agent/protocol.ts'

export function givenConfig(more: Partial<BuildConfig> = {}): BuildConfig {
  return {
    job_id: 'b1',
    channel_key: 'k'.repeat(43),
    registry_url: 'localhost:5000',
    registry_public_name: 'hub.example:8083',
    registry_token: 'the-token',
    image_repository: 'builds/b1',
    source_path: '/src',
    source_hash: `sha256:${'0'.repeat(64)}`,
    timeout_seconds: 600,
    network_mode: 'isolated',
    ...more,
  }
}
