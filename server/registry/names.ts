// The OCI distribution API's paths: which repository and which kind of thing a request is about. Anything
// that is not exactly of that form is refused before it gets near the registry.

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const NAME_LENGTH_MAX = 255
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const DIGEST = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-zA-Z=_-]+$/
const UPLOAD = /^[A-Za-z0-9=_-]+$/

export type RegistryRoute =
  | { kind: 'base' }
  | { kind: 'token' }
  | { kind: 'catalog' }
  | { kind: 'manifest'; repo: string; reference: string }
  | { kind: 'blob'; repo: string; digest: string }
  | { kind: 'upload'; repo: string; upload: string }
  | { kind: 'tags'; repo: string }
  | { kind: 'referrers'; repo: string; digest: string }

/** undefined when the path is none of the API's. Paths are taken as sent: no encoding, no dots, no `//`. */
export function parseRoute(pathname: string): RegistryRoute | undefined {
  if (pathname === '/v2' || pathname === '/v2/') return { kind: 'base' }
  if (pathname === '/v2/token' || pathname === '/v2/token/') return { kind: 'token' }
  if (pathname === '/v2/_catalog') return { kind: 'catalog' }
  if (!pathname.startsWith('/v2/') || pathname.includes('%')) return undefined
  const parts = pathname.slice('/v2/'.length).split('/')
  const last = parts.pop() ?? ''
  const kind = parts.pop() ?? ''
  if (kind === 'uploads' && parts.at(-1) === 'blobs') {
    const repo = parts.slice(0, -1).join('/')
    if (!isRepoName(repo) || (last !== '' && !UPLOAD.test(last))) return undefined
    return { kind: 'upload', repo, upload: last }
  }
  const repo = parts.join('/')
  if (!isRepoName(repo)) return undefined
  if (kind === 'blobs' && last === 'uploads') return { kind: 'upload', repo, upload: '' }
  if (kind === 'manifests' && (TAG.test(last) || DIGEST.test(last))) {
    return { kind: 'manifest', repo, reference: last }
  }
  if (kind === 'blobs' && DIGEST.test(last)) return { kind: 'blob', repo, digest: last }
  if (kind === 'tags' && last === 'list') return { kind: 'tags', repo }
  if (kind === 'referrers' && DIGEST.test(last)) return { kind: 'referrers', repo, digest: last }
  return undefined
}

export function isRepoName(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && NAME.test(name)
}
