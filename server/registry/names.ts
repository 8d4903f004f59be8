// The OCI distribution API's paths: which repository and which kind of thing a request is about. What is
// authorised is the parsed route, and what the registry sees is written from it again, so the two can't differ.

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const NAME_LENGTH_MAX = 255
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const DIGEST = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-zA-Z=_-]{32,256}$/
const UPLOAD = /^[A-Za-z0-9=_-]+$/

export type RegistryRoute =
  | { kind: 'base' }
  | { kind: 'token' }
  | { kind: 'catalog' }
  | { kind: 'manifest'; repo: string; reference: string }
  | { kind: 'blob'; repo: string; digest: string }
  | { kind: 'uploads'; repo: string }
  | { kind: 'upload'; repo: string; upload: string }
  | { kind: 'tags'; repo: string }
  | { kind: 'referrers'; repo: string; digest: string }

export type RepoRoute = Extract<RegistryRoute, { repo: string }>

/** undefined when the path is none of the API's: no dots, no `//`, and encoded only what could go without. */
export function parseRoute(rawPath: string): RegistryRoute | undefined {
  const path = decode(rawPath)
  if (path === '/v2' || path === '/v2/') return { kind: 'base' }
  if (path === '/v2/token' || path === '/v2/token/') return { kind: 'token' }
  if (path === '/v2/_catalog') return { kind: 'catalog' }
  if (!path?.startsWith('/v2/')) return undefined
  const parts = path.slice('/v2/'.length).split('/')
  const last = parts.pop() ?? ''
  const kind = parts.pop() ?? ''
  if (kind === 'uploads' && parts.at(-1) === 'blobs') {
    return uploadRoute(parts.slice(0, -1).join('/'), last)
  }
  const repo = parts.join('/')
  if (!isRepoName(repo)) return undefined
  if (kind === 'blobs' && last === 'uploads') return uploadRoute(repo, '')
  if (kind === 'manifests' && (isTag(last) || isDigest(last))) {
    return { kind: 'manifest', repo, reference: last }
  }
  if (kind === 'blobs' && isDigest(last)) return { kind: 'blob', repo, digest: last }
  if (kind === 'tags' && last === 'list') return { kind: 'tags', repo }
  if (kind === 'referrers' && isDigest(last)) return { kind: 'referrers', repo, digest: last }
  return undefined
}

function uploadRoute(repo: string, upload: string): RegistryRoute | undefined {
  if (!isRepoName(repo)) return undefined
  if (upload === '') return { kind: 'uploads', repo }
  return UPLOAD.test(upload) ? { kind: 'upload', repo, upload } : undefined
}

/** The one path a route has. */
export function routePath(route: RepoRoute): string {
  const base = `/v2/${route.repo}`
  switch (route.kind) {
    case 'manifest':
      return `${base}/manifests/${route.reference}`
    case 'blob':
      return `${base}/blobs/${route.digest}`
    case 'uploads':
      return `${base}/blobs/uploads/`
    case 'upload':
      return `${base}/blobs/uploads/${route.upload}`
    case 'tags':
      return `${base}/tags/list`
    case 'referrers':
      return `${base}/referrers/${route.digest}`
  }
}

export function isRepoName(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && NAME.test(name)
}

/** Where what is mirrored of other registries lies: `mirror/<host>/<name>`. */
export const MIRROR_AREA = 'mirror/'

export function isMirror(repo: string): boolean {
  return repo.startsWith(MIRROR_AREA)
}

export function isTag(text: string): boolean {
  return TAG.test(text)
}

export function isDigest(text: string): boolean {
  return DIGEST.test(text)
}

/** `sha256%3A…` is the same as `sha256:…`; an encoded slash or percent sign never means well. */
function decode(path: string): string | undefined {
  if (!path.includes('%')) return path
  if (/%2f|%25/i.test(path)) return undefined
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined // not UTF-8, or no encoding at all
  }
}
