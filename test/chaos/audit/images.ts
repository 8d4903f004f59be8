// Every ready image is in the registry, whole: each byte of it is fetched and hashed, under each of its names.
import { createHash } from 'node:crypto'
import { branchTag } from '../../../server/builds/branch-tag.ts'
import { MANIFEST_TYPES, manifestPath } from '../../../server/registry/exchange.ts'
import { manifestParts } from '../../../server/registry/manifest-parts.ts'
import type { BuildFact, Facts } from './facts.ts'
import { grouped } from './group.ts'
import type { AuditInput, Finding } from './input.ts'

const BRANCHES = 'refs/heads/'
const DEADLINE_MS = 60_000

interface Fetched {
  status: number
  digest: string
  bytes: number
  /** Of manifests. */
  body: Buffer
}

/** What is wrong with an image, in words; nothing: it was pulled. */
type Pull = (repo: string, reference: string, expected: string | null) => Promise<string[]>

export async function checkImages(facts: Facts, input: AuditInput): Promise<Finding[]> {
  const pull = createPull(input)
  const ready = facts.builds.filter(
    ({ status, image_expired_at: gone }) => status === 'ready' && gone === null,
  )
  const findings: Finding[] = []
  for (const { id, image_digest: digest } of ready) {
    for (const reference of [digest ?? 'none', 'latest']) {
      for (const fault of await pull(`builds/${id}`, reference, digest)) {
        findings.push({ invariant: 'ready images are whole', what: `build ${id}: ${fault}` })
      }
    }
  }
  return [
    ...findings,
    ...(await checkBranches(facts, ready, pull)),
    ...(await checkNamed(ready, pull)),
  ]
}

/** Of those ready, the one of the newest push is the branch's. */
async function checkBranches(
  { apps, pushes, branches, builds }: Facts,
  ready: readonly BuildFact[],
  pull: Pull,
): Promise<Finding[]> {
  const invariant = 'branch images are of the newest push'
  const seq = new Map(pushes.map(({ id, seq: n }) => [id, n]))
  const seqOf = ({ push_id: id }: BuildFact) => (id === null ? -1 : (seq.get(id) ?? -1))
  const findings: Finding[] = []
  for (const { id: appId, tenant, name } of apps) {
    const pushed = ({ app_id: id, push_id: push, ref }: BuildFact) =>
      id === appId && push !== null && ref?.startsWith(BRANCHES)
    const repo = `apps/${tenant}/${name}`
    for (const ref of grouped(builds.filter(pushed), (build) => build.ref!).keys()) {
      const tag = branchTag(ref.slice(BRANCHES.length))
      const own = ready.filter((build) => pushed(build) && build.ref === ref)
      const newest = own.toSorted((a, b) => seqOf(a) - seqOf(b)).at(-1)
      const row = branches.find((branch) => branch.app_id === appId && branch.ref === ref)
      if (row?.build_id !== newest?.id) {
        const what = `${repo}:${tag} is recorded as of build ${row?.build_id}; the newest push that is ready is of ${newest?.id}`
        findings.push({ invariant, what })
      }
      const faults = await pull(repo, tag, newest?.image_digest ?? null)
      const whose = newest ? `build ${newest.id}` : 'no build'
      for (const fault of faults) findings.push({ invariant, what: `${whose}: ${fault}` })
    }
  }
  return findings
}

/** Under a name that was asked for is one of the images for which it was. */
async function checkNamed(ready: readonly BuildFact[], pull: Pull): Promise<Finding[]> {
  const named = ready.filter(({ image_name: name }) => name !== null)
  const findings: Finding[] = []
  for (const [name, builds] of grouped(named, (build) => build.image_name!)) {
    const [repo = '', tag = 'latest'] = name.split(':')
    const tried = await Promise.all(
      builds.map(({ image_digest: digest }) => pull(repo, tag, digest)),
    )
    if (tried.some((faults) => faults.length === 0)) continue
    const ids = builds.map(({ id }) => id).join(', ')
    const what = `${name} is of none of the builds ${ids}: ${tried.flat().join('; ')}`
    findings.push({ invariant: 'images have the names that were asked for', what })
  }
  return findings
}

function createPull({ registryUrl, token }: AuditInput): Pull {
  async function fetched(path: string): Promise<Fetched> {
    const headers = { accept: MANIFEST_TYPES, authorization: `Bearer ${token}` }
    const signal = AbortSignal.timeout(DEADLINE_MS)
    const reply = await fetch(new URL(path, registryUrl), { headers, signal })
    const hash = createHash('sha256')
    const kept: Buffer[] = []
    let bytes = 0
    for await (const chunk of reply.body ?? []) {
      hash.update(chunk)
      bytes += chunk.length
      if (path.includes('/manifests/')) kept.push(Buffer.from(chunk))
    }
    const digest = `sha256:${hash.digest('hex')}`
    return { status: reply.status, digest, bytes, body: Buffer.concat(kept) }
  }

  async function pull(repo: string, reference: string, expected: string | null): Promise<string[]> {
    const name = reference.includes(':') ? `${repo}@${reference}` : `${repo}:${reference}`
    const { status, digest, body } = await fetched(manifestPath(repo, reference))
    if (expected === null) return status === 404 ? [] : [`${name} is there (${status} ${digest})`]
    if (status !== 200) return [`${name} should be ${expected}, the registry answers ${status}`]
    if (digest !== expected) return [`${name} should be ${expected} and is ${digest}`]
    const { blobs, manifests } = manifestParts(body)
    if (blobs.length + manifests.length === 0) return [`${name} is a manifest of nothing`]
    const faults: string[] = []
    for (const part of blobs) {
      const blob = await fetched(`/v2/${repo}/blobs/${part.digest}`)
      const isWhole = blob.status === 200 && blob.digest === part.digest && blob.bytes === part.size
      if (isWhole) continue
      const got = `${blob.status}, ${blob.bytes} bytes, ${blob.digest}`
      faults.push(
        `blob ${part.digest} of ${name} has ${part.size} bytes, the registry answers ${got}`,
      )
    }
    for (const part of manifests) faults.push(...(await pull(repo, part.digest, part.digest)))
    return faults
  }

  return async (repo, reference, expected) => {
    try {
      return await pull(repo, reference, expected)
    } catch (error) {
      const { message, cause } = error as Error
      const why = cause instanceof Error ? `${message}: ${cause.message}` : message
      return [`${repo} ${reference} could not be fetched: ${why}`]
    }
  }
}
