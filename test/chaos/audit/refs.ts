// The refs of each repository: where the pushes have put them, known to the database, tagged by the builds.
import { effectiveSettings } from '../../../server/apps/schema.ts'
import { classify } from '../../../server/git/classify.ts'
import { ZERO_OID } from '../../../server/git/pkt-line.ts'
import type { AppFact, Facts } from './facts.ts'
import { grouped } from './group.ts'
import type { AuditInput, Finding, Pushed } from './input.ts'
import type { Repositories, Repository } from './repositories.ts'

const QUIET = /Everything up-to-date/

export function checkRefs(facts: Facts, input: AuditInput, repositories: Repositories): Finding[] {
  const findings: Finding[] = []
  for (const app of facts.apps) {
    const repository = repositories.get(app.id)!
    for (const fault of repository.faults) {
      const what = `the repository of ${shownApp(app)} (${repository.dir}): ${fault}`
      findings.push({ invariant: 'repositories are sound', what })
    }
    if (repository.faults.length > 0) continue
    findings.push(
      ...checkTips(app, repository, input.pushes),
      ...checkKnown(app, repository, facts),
      ...checkTags(app, repository, facts),
    )
  }
  return findings
}

export const shownApp = ({ tenant, name }: AppFact) => `${tenant}/${name}`

export const isOf = ({ tenant, name }: AppFact, { repository }: Pushed) =>
  repository === name || repository === `${tenant}/${name}`

/** Whether a push of this ref makes a build. */
export function isBuilt({ settings }: AppFact, ref: string, newSha: string): boolean {
  const update = { ref, oldSha: ZERO_OID, newSha }
  return classify(update, effectiveSettings(settings)).kind === 'build'
}

/** A push that moved something, or may have: git says that all is up to date when its connection broke, too. */
export const isMove = ({ outcome, detail = '' }: Pushed) =>
  outcome === 'unknown' || (outcome === 'accepted' && !QUIET.test(detail))

/** Where the last accepted push has put it, or an unknown one that came later. */
function checkTips(app: AppFact, { refs }: Repository, pushes: readonly Pushed[]): Finding[] {
  const byRef = grouped(
    pushes.filter((push) => isOf(app, push)),
    ({ ref }) => ref,
  )
  return [...byRef].flatMap(([ref, own]) => {
    const moves = own.filter(({ outcome }) => outcome !== 'refused')
    const last = moves.findLastIndex(({ outcome }) => outcome === 'accepted')
    const expected = last < 0 ? [ZERO_OID] : []
    const possible = [...expected, ...moves.slice(Math.max(0, last)).map(({ commit }) => commit)]
    const tip = refs.get(ref) ?? ZERO_OID
    if (possible.includes(tip)) return []
    const told = own.map(({ commit, outcome }) => `${short(commit)} ${outcome}`).join(', ')
    const what = `${ref} of ${shownApp(app)} is at ${short(tip)}; its pushes were ${told}`
    return [{ invariant: 'refs are where pushes have put them', what }]
  })
}

/** The reconciler has been there: the latest recorded move of a ref that is built is where it stands. */
function checkKnown(app: AppFact, { refs }: Repository, { pushes }: Facts): Finding[] {
  const latest = new Map(
    pushes.filter(({ app_id: id }) => id === app.id).map(({ ref, new_sha: sha }) => [ref, sha]),
  )
  return [...refs].flatMap(([ref, tip]) => {
    if (!isBuilt(app, ref, tip) || latest.get(ref) === tip) return []
    const known = latest.get(ref)
    const what = `${ref} of ${shownApp(app)} is at ${short(tip)}, and its latest recorded push is ${known ? short(known) : 'none'}`
    return [{ invariant: 'every move of a ref is recorded', what }]
  })
}

function checkTags(app: AppFact, { refs }: Repository, { builds }: Facts): Finding[] {
  return builds.flatMap(({ id, app_id: appId, commit, status }) => {
    if (appId !== app.id || commit === null) return []
    const tagged = refs.get(`refs/tags/builds/${id}`)
    if (status === 'ready' ? tagged === commit : tagged === undefined || tagged === commit)
      return []
    const where = tagged === undefined ? 'is not there' : `is on ${short(tagged)}`
    const what = `build ${id} of ${short(commit)} in ${shownApp(app)} is ${status}, and its tag ${where}`
    return [{ invariant: 'ready builds are tagged', what }]
  })
}

export const short = (commit: string) => (commit === ZERO_OID ? 'nothing' : commit.slice(0, 10))
