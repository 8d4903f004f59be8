// What the driver knows and the auditor does not: how each build had to end, and which ones must be there.
import type { Db } from '../../server/db/pool.ts'
import { BUILD_ATTEMPTS_MAX } from '../../server/limits.ts'
import type { Finding } from './audit.ts'
import type { Ledger, Verdict } from './ledger.ts'

interface BuildEnd {
  id: string
  commit: string | null
  status: string
  failure_class: string | null
  error: string | null
  attempt: number
}

/** Ends that a fault may give to any build; the user's fault is never one. */
const OF_FAULTS = ['infra', 'lost']

export async function unexpected(db: Db, ledger: Ledger): Promise<Finding[]> {
  const builds: BuildEnd[] = await db('builds').select(
    'id',
    'commit',
    'status',
    'failure_class',
    'error',
    'attempt',
  )
  const known = new Set(builds.map(({ id }) => id))
  const lost = [...ledger.submitted.keys()].filter((id) => !known.has(id))
  return [
    ...ledger.surprises.map((what) => ({ invariant: 'clients meet no surprise', what })),
    ...lost.map((id) => ({
      invariant: 'what POST /builds has acknowledged is there',
      what: `build ${id} is not in the database`,
    })),
    ...builds.flatMap((build) => {
      const verdict = ledger.submitted.get(build.id) ?? ledger.commits.get(build.commit ?? '')
      const what = verdict && contradiction(build, verdict)
      return what ? [{ invariant: 'a build ends as its Dockerfile deserves', what }] : []
    }),
    ...builds.filter(gaveUpEarly).map(({ id, attempt, error }) => ({
      invariant: 'what breaks below a build is tried again',
      what: `build ${id} failed in attempt ${attempt} of ${BUILD_ATTEMPTS_MAX}: ${error}`,
    })),
  ]
}

function gaveUpEarly({ failure_class: failureClass, attempt }: BuildEnd): boolean {
  return OF_FAULTS.includes(failureClass ?? '') && attempt < BUILD_ATTEMPTS_MAX
}

function contradiction(build: BuildEnd, verdict: Verdict): string | undefined {
  const { id, status, failure_class: failureClass, error } = build
  const how = `build ${id} of ${build.commit ?? 'an upload'} ended as ${status} ${failureClass ?? ''}: ${error ?? ''}`
  if (status === 'ready' && verdict === 'fails') return `${how}, its Dockerfile is broken`
  if (status !== 'failed' || OF_FAULTS.includes(failureClass ?? '')) return undefined
  if (verdict === 'fails' && failureClass === 'build') return undefined
  return `${how}, its Dockerfile ${verdict}`
}
