// What the API document shows of builds.

const ID = 'v8xx8ycar6vvro8uxr9b7e9e'

export const BUILD_EXAMPLE = {
  id: ID,
  status: 'ready',
  image_digest: 'sha256:5dd0f218364f763129f41c50400f9a1b66bfdfb4bea14de7739e1c1f571b8e40',
  image_ref: `builds.example.com/builds/${ID}`,
  provenance: {
    source_hash: 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    buildkit_version: 'v0.33.1',
    timestamp: '2026-05-04T12:00:24Z',
    cache: {
      source: 'registry' as const,
      steps_total: 6,
      steps_cached: 1,
      imported: ['cache/ada/hello'],
    },
  },
  app: 'hello',
  ref: 'refs/heads/main',
  commit: '2215a6c14a0d4f3b9b0c7e2d5c1a9e8f7b6a5d4c',
  pusher: 'ada',
  builder_instance_id: `${ID}-1`,
  attempt: 1,
  attempts: [
    {
      attempt: 1,
      claimed_at: '2026-05-04T12:00:00.012Z',
      ended_at: '2026-05-04T12:00:24.700Z',
      outcome: 'built' as const,
    },
  ],
  phases: { queue_ms: 12, vm_ms: 8013, build_ms: 14402, push_ms: 1608 },
  steps: { total: 6, cached: 1, done: 5, failed: 0, running: 0 },
  created_at: '2026-05-04T12:00:00.000Z',
  started_at: '2026-05-04T12:00:00.012Z',
  completed_at: '2026-05-04T12:00:24.900Z',
  duration_ms: 24_888,
}

export const STEP_EXAMPLE = {
  n: 4,
  name: '[2/4] RUN make',
  state: 'done',
  started_at: '2026-05-04T12:00:11.000Z',
  completed_at: '2026-05-04T12:00:12.900Z',
  duration_ms: 1900,
}

export const CONNECTION_EXAMPLE = {
  n: 1,
  attempt: 1,
  process: '/usr/local/bin/node',
  protocol: 'IPPROTO_TCP',
  src_addr: '127.0.0.1',
  src_port: 41_234,
  dst_addr: '104.16.1.34',
  dst_port: 443,
  family: 'AF_INET',
  function: 'tcp_connect',
  timestamp: '2026-05-04T12:00:11.250Z',
  host: 'registry.npmjs.org',
}

export const EVENT_EXAMPLES = [
  { type: 'log', timestamp: '2026-05-04T12:00:11.250Z', content: 'counting 1', step: 4 },
  { type: 'status', timestamp: '2026-05-04T12:00:24.900Z', status: 'ready' },
]

export const PLAIN_LOG_EXAMPLE = '#4 [2/4] RUN make\n#4 DONE 1.9s\n'

export const SUBMIT_EXAMPLE = {
  source: '(the bytes of source.tar.gz)',
  dockerfile_path: 'deploy/Dockerfile',
  build_args: { MODE: 'prod' },
  secrets: '[{"id":"npm_token"}]',
  tags: { team: 'web' },
  timeout_seconds: 900,
}

export const SUBMIT_JSON_EXAMPLE = {
  repo_url: 'https://git.example.com/team/web.git',
  ref: 'main',
  dockerfile_path: 'deploy/Dockerfile',
  build_args: { MODE: 'prod' },
  platform: 'linux/amd64',
  build_policy: { allowed_domains: ['git.example.com', 'registry.npmjs.org'] },
}

export const CONFIG_EXAMPLE = {
  job_id: ID,
  registry_url: 'localhost:5000',
  registry_public_name: 'builds.example.com',
  registry_token: '[redacted]',
  image_repository: `builds/${ID}`,
  source_path: '/src',
  source_hash: BUILD_EXAMPLE.provenance.source_hash,
  build_args: { MODE: 'prod' },
  secrets: [{ id: 'npm_token' }],
  timeout_seconds: 900,
  network_mode: 'egress',
}
