// How a build in egress mode finds the way out: BuildKit itself by environment, RUN steps by BuildKit's
// predefined build arguments, which stay out of the image and of cache keys.
import { type BuildConfig, EGRESS_PORT } from './protocol.ts'

export const PROXY_URL = `http://127.0.0.1:${EGRESS_PORT}`

/** Upper and lower case: curl reads only the lower-case http_proxy, others only upper case. */
export function proxyEnv(config: BuildConfig): Record<string, string> {
  if (config.network_mode !== 'egress') return {}
  const direct = ['localhost', '127.0.0.1', '::1', hostOf(config.registry_public_name)].join(',')
  const env: Record<string, string> = {}
  for (const [name, value] of [
    ['HTTP_PROXY', PROXY_URL],
    ['HTTPS_PROXY', PROXY_URL],
    ['NO_PROXY', direct],
  ] as const) {
    env[name] = value
    env[name.toLowerCase()] = value
  }
  return env
}

function hostOf(name: string): string {
  return name.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}
