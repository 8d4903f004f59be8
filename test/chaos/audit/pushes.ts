// Every push of a ref that is built has made one build, and no other has.

import { join } from 'node:path'
import { effectiveSettings } from '../../../server/apps/schema.ts'
import type { AppFact, BuildFact, Facts } from './facts.ts'
import { grouped } from './group.ts'
import type { AuditInput, Finding, Pushed } from './input.ts'
import { isBuilt, isMove, isOf, short, shownApp } from './refs.ts'
import { hasFile } from './repositories.ts'

const invariant = 'every push has one build'

export async function checkPushes(facts: Facts, input: AuditInput): Promise<Finding[]> {
  const findings = facts.apps.flatMap((app) => checkSeen(app, facts, input.pushes))
  for (const pushed of input.pushes) {
    const known = facts.apps.filter((app) => isOf(app, pushed))
    if (known.length === 1 || pushed.outcome !== 'accepted') continue
    const what = `a push to ${pushed.repository} was accepted, and there are ${known.length} apps of that name`
    findings.push({ invariant, what })
  }
  return [...findings, ...(await checkRecorded(facts, input))]
}

/** As clients saw it: a build for each time the ref has come to a commit, whoever was told of it. */
function checkSeen(app: AppFact, { builds }: Facts, pushes: readonly Pushed[]): Finding[] {
  const own = pushes.filter((push) => isOf(app, push) && isBuilt(app, push.ref, push.commit))
  const intents = grouped(own, ({ ref, commit }) => `${commit} ${ref}`)
  const made = grouped(
    builds.filter(({ app_id: id, push_id: push }) => id === app.id && push !== null),
    ({ ref, commit }) => `${commit} ${ref}`,
  )
  return [...intents].flatMap(([intent, same]) => {
    const { ref, commit } = same[0]!
    const accepted = same.filter(({ outcome }) => outcome === 'accepted')
    const least = Math.max(Math.min(1, accepted.length), accepted.filter(isMove).length)
    const most = arrivals(
      own.filter((push) => push.ref === ref),
      commit,
    )
    const found = made.get(intent) ?? []
    if (found.length >= least && found.length <= most) return []
    const told = same.map(({ outcome }) => outcome).join(', ')
    const what = `${short(commit)} to ${ref} of ${shownApp(app)} was pushed ${same.length} times (${told}) and has ${shown(found)}`
    return [{ invariant, what }]
  })
}

/** How often a ref may have come to a commit: once, and again after each time that it may have left. */
function arrivals(ofRef: readonly Pushed[], commit: string): number {
  const tips = ofRef.filter(({ outcome }) => outcome !== 'refused').map((push) => push.commit)
  return tips.filter((tip, i) => tip === commit && tips[i - 1] !== commit).length
}

/** As the server recorded it: one build for each row. */
async function checkRecorded(
  { apps, pushes, builds }: Facts,
  input: AuditInput,
): Promise<Finding[]> {
  const made = grouped(builds, ({ push_id: id }) => String(id))
  const findings: Finding[] = []
  for (const push of pushes) {
    const app = apps.find(({ id }) => id === push.app_id)
    if (!app || !isBuilt(app, push.ref, push.new_sha)) continue
    const found = made.get(String(push.id)) ?? []
    const isSame = found.every((b) => b.commit === push.new_sha && b.ref === push.ref)
    if (found.length === 1 && isSame) continue
    if (found.length === 0 && !(await isBuildable(app, push.new_sha, input))) continue
    const what = `push ${push.id} of ${short(push.new_sha)} to ${push.ref} of ${shownApp(app)} has ${shown(found)}`
    findings.push({ invariant, what })
  }
  return findings
}

/** Without a Dockerfile nothing is queued, and the push says so. */
function isBuildable({ id, settings }: AppFact, commit: string, { repositories }: AuditInput) {
  const { dockerfilePath = 'Dockerfile' } = effectiveSettings(settings)
  return hasFile(join(repositories, `${id}.git`), commit, dockerfilePath)
}

function shown(builds: readonly BuildFact[]): string {
  if (builds.length === 0) return 'no build'
  const each = builds.map(({ id, status, commit }) => `${id} of ${short(commit ?? '')} ${status}`)
  return `${builds.length} builds: ${each.join(', ')}`
}
