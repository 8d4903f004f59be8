// What the API document shows of builders.

export const CREATE_BUILDER_EXAMPLE = { id: 'ci-cache', disk_size_gb: 20, tags: { team: 'web' } }

export const BUILDER_EXAMPLE = {
  ...CREATE_BUILDER_EXAMPLE,
  disk_used_bytes: 734_003_200,
  status: 'ready' as const,
  max_concurrency: 1,
  queued_builds: ['k3v9q2m8x4c7z1b5n6a0s2d4'],
  created_at: '2026-05-04T11:58:00.000Z',
  last_used_at: '2026-05-04T12:03:00.000Z',
}
