// What the API document shows of apps.

export const CREATE_APP_EXAMPLE = {
  name: 'hello',
  deploy_branches: ['main'],
  dockerfile_path: 'deploy/Dockerfile',
  policy: { memory_mb: 4096, timeout_seconds: 900 },
}

export const UPDATE_APP_EXAMPLE = { build_args: { MODE: 'prod' }, dockerfile_path: null }

export const APP_EXAMPLE = {
  ...CREATE_APP_EXAMPLE,
  tenant: 'acme',
  git_url: 'https://builds.example.com/acme/hello.git',
  created_at: '2026-05-04T11:58:00.000Z',
  updated_at: '2026-05-04T11:58:00.000Z',
}
