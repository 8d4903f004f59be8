// Which source a form asks for: an upload, a commit of a hosted app, or one of a repository elsewhere.
// Exactly one, and only the fields that go with it.
import type { Principal } from '../auth/principal.ts'
import { invalidRequest, notFound } from '../errors.ts'
import type { SubmitFields } from './form.ts'
import { checkRepoRef, type HostedName, hostedName, parseRepoUrl } from './repo-url.ts'
import type { WantedCommit } from './submit.ts'

const FULL_HASH = /^[0-9a-f]{40}$/

export type SourceChoice =
  | { kind: 'upload'; fields: SubmitFields }
  | { kind: 'hosted'; fields: SubmitFields & WantedCommit }
  | { kind: 'fetched'; fields: SubmitFields & { repo_url: string } }

/** Throws AppError `invalid_request`, or `not_found` for an app that is not the caller's. */
export function chooseSource(
  principal: Principal,
  given: SubmitFields,
  { hasUpload, publicUrl }: { hasUpload: boolean; publicUrl: string },
): SourceChoice {
  const { repo_url: url, repo_secret: secret, ...fields } = given
  const { app, source_hash: hash } = fields
  refuseSeveral({ source: hasUpload, app: app !== undefined, repo_url: url !== undefined })
  if (secret !== undefined && url === undefined) throw invalidRequest('repo_secret needs repo_url')
  if (app === undefined && url === undefined) return { kind: 'upload', fields }
  if (hash !== undefined) throw invalidRequest('source_hash needs source')
  if (app !== undefined) return { kind: 'hosted', fields: { ...fields, app } }
  const hosted = hostedName(url!, publicUrl)
  if (hosted) return { kind: 'hosted', fields: hostedFields(principal, hosted, given) }
  const { commit, ref } = fields
  if (commit !== undefined) {
    throw invalidRequest('commit needs app: with repo_url its full hash is given as ref')
  }
  if (ref !== undefined) checkRepoRef(ref)
  return { kind: 'fetched', fields: { ...given, repo_url: parseRepoUrl(url!) } }
}

function refuseSeveral(sources: Record<string, boolean>): void {
  const [first, second] = Object.keys(sources).filter((name) => sources[name])
  if (second) throw invalidRequest(`give ${first} or ${second}: both say what to build`)
}

/** As if the app had been named. */
function hostedFields(
  principal: Principal,
  { name: app, tenant }: HostedName,
  { repo_url: _, repo_secret: secret, ref, ...fields }: SubmitFields,
): SubmitFields & WantedCommit {
  if (tenant !== undefined && tenant !== principal.tenant) throw notFound('app')
  if (secret !== undefined) {
    throw invalidRequest('repo_secret is for other hosts: the token of the request opens this one')
  }
  const { commit } = fields
  if (ref !== undefined && FULL_HASH.test(ref) && commit === undefined) {
    return { ...fields, app, commit: ref }
  }
  const isHead = ref === 'HEAD' || (ref === undefined && commit === undefined)
  if (isHead) return { ...fields, app, head: true }
  return { ...fields, app, ...(ref === undefined ? {} : { ref }) }
}
