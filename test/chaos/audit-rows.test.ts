// The auditor and the rows: whatever of them contradicts a promise is found, by its name.
import { test } from 'node:test'
import { givenBuild } from '../helpers/builds.ts'
import { givenAudited } from './audited.ts'
import { added, all, changed, plantEach, removed, type Violation } from './planted.ts'

const nothing = async () => async () => {}
const at = (base: Date, ms: number) => new Date(base.getTime() + ms)
const second = (n: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, n))
const FROM_LOG = { type: 'log', content: 'bye' }

const violations: Record<string, Violation> = {
  'a build that has not ended': {
    async plant({ server: { db } }) {
      const { id } = await givenBuild(db, { id: 'stillwaits' })
      return () => db('builds').where({ id }).delete()
    },
    found: () => [
      /^every build ends: build stillwaits is queued in attempt 0$/,
      /^sources are kept: sources\/none of the builds stillwaits is not there$/,
    ],
  },
  'a cancel that was acknowledged and did not happen': {
    plant: nothing,
    input: ({ builds, input }) => ({ cancelled: [...input.cancelled, builds.first.id, 'nobody'] }),
    found: ({ builds }) => [
      new RegExp(
        `^what was cancelled .* build ${builds.first.id} was acknowledged, and it is ready`,
      ),
      /^what was cancelled .* build nobody was acknowledged, and it is unknown$/,
    ],
  },
  'a build that ended before it began': {
    plant: ({ server: { db }, builds: { failed } }) => {
      const set = { started_at: at(failed.completedAt!, 1), claimed_at: at(failed.completedAt!, 1) }
      return changed(db, 'builds', { id: failed.id }, set)
    },
    found: ({ builds }) => [
      new RegExp(
        `^times are in order: build ${builds.failed.id}: claimed_at .* is after completed_at`,
      ),
    ],
  },
  'a build superseded by that of another ref': {
    plant: ({ server: { db }, builds: { cancelled, gated } }) =>
      changed(db, 'builds', { id: cancelled.id }, { superseded_by: gated.id }),
    found: ({ builds }) => [
      new RegExp(
        `^only the same ref supersedes: build ${builds.cancelled.id} .* ${builds.gated.id}`,
      ),
    ],
  },
  'a line that is missing': {
    plant: ({ server: { db }, builds: { first } }) =>
      removed(db, 'build_events', { build_id: first.id, seq: 3 }),
    found: ({ builds }) => [
      new RegExp(`^logs have no gaps: .* ${builds.first.id} has 4 of 5 events: not 3$`),
    ],
  },
  'a last line that is missing': {
    plant: ({ server: { db }, builds: { first } }) =>
      removed(db, 'build_events', { build_id: first.id, seq: first.lastSeq }),
    found: ({ builds: { first } }) => [
      new RegExp(`^logs have no gaps: .* ${first.id} ends at 4, and 5 were given$`),
      new RegExp(
        `^logs end .*: build ${first.id} is ready, and its log ends with status "pushing"$`,
      ),
      new RegExp(
        `^statuses follow .*: build ${first.id} is ready after queued, building, pushing$`,
      ),
    ],
  },
  'a line behind the end': {
    async plant({ server: { db }, builds: { first } }) {
      const [where, seq] = [{ build_id: first.id }, first.lastSeq + 1]
      await db('build_events').insert({ ...where, seq, ...FROM_LOG })
      const undo = await changed(db, 'builds', { id: first.id }, { last_seq: seq })
      return all(
        () =>
          db('build_events')
            .where({ ...where, seq })
            .delete(),
        undo,
      )
    },
    found: ({ builds }) => [
      new RegExp(`^logs end .* ${builds.first.id} is ready, and its log ends with log "bye"$`),
    ],
  },
  'statuses that cannot follow each other': {
    plant: ({ server: { db }, builds: { failed } }) =>
      changed(
        db,
        'build_events',
        { build_id: failed.id, content: 'building' },
        { content: 'ready' },
      ),
    found: ({ builds: { failed } }) => [
      new RegExp(`^statuses follow .*: build ${failed.id} is failed after queued, ready, failed$`),
      new RegExp(`^attempts are counted: the log of build ${failed.id} begins 0 .* recorded are 1`),
    ],
  },
  'attempts that overlap': {
    async plant({ server: { db }, builds: { lost } }) {
      const [, next] = await db('attempts').where({ build_id: lost.id }).orderBy('id')
      const until = { ended_at: at(next.claimed_at, 1) }
      return changed(db, 'attempts', { build_id: lost.id, outcome: 'lost' }, until)
    },
    found: ({ builds }) => [
      new RegExp(
        `^attempts do not overlap: build ${builds.lost.id} attempt 1 on fake .* reaches into .* attempt 2`,
      ),
    ],
  },
  'an attempt too many': {
    plant: ({ server: { db }, builds: { lost } }) => {
      const [from, until] = [at(lost.completedAt!, 1), at(lost.completedAt!, 2)]
      const times = { claimed_at: from, ended_at: until }
      const row = { build_id: lost.id, attempt: 3, worker: 'fake', ...times, outcome: 'failed' }
      return added(db, 'attempts', row)
    },
    found: ({ builds: { lost } }) => [
      new RegExp(`^attempts are limited: build ${lost.id} had 3 .* 1 lost, 2 built, 3 failed$`),
      new RegExp(`^attempts are counted: build ${lost.id} counts 2 attempts, recorded are 3`),
      new RegExp(`^attempts are counted: the log of build ${lost.id} begins 2`),
      new RegExp(`^attempts end .*: build ${lost.id} is ready, and its attempts ended lost, built`),
    ],
  },
  'an attempt that has no end': {
    plant: ({ server: { db }, builds: { failed } }) =>
      changed(db, 'attempts', { build_id: failed.id }, { ended_at: null, outcome: null }),
    found: ({ builds }) => [
      new RegExp(
        `^attempts end .*: build ${builds.failed.id} .* to now\\) runs, and .* is failed$`,
      ),
    ],
    input: () => ({ limits: {} }),
  },
  'more at once than may run': {
    async plant({ server: { db }, builds: { first, failed, newest } }) {
      const crowd = [first, failed, newest].map(({ id }, i) => {
        const times = { claimed_at: second(i), ended_at: second(10) }
        return changed(db, 'attempts', { build_id: id }, times)
      })
      return all(...(await Promise.all(crowd)))
    },
    found: () => [
      /^limits .*: 3 of at most 2 builds at 2026-01-01T00:00:02\.000000Z: build .*; build .*; build /,
      /^limits .*: 3 of at most 2 builds of tenant acme at/,
      /^limits .*: 3 of at most 2 builds on worker fake at/,
    ],
  },
  'what ends the moment another begins, which is not too much': {
    async plant({ server: { db }, builds: { first, failed, newest } }) {
      const row = [first, failed, newest].map(({ id }, i) => {
        const times = { claimed_at: second(i), ended_at: second(i + 1) }
        return changed(db, 'attempts', { build_id: id }, times)
      })
      return all(...(await Promise.all(row)))
    },
    input: () => ({ limits: { global: 1 } }),
    found: () => [],
  },
  'a slot that an ended build holds': {
    plant: ({ server: { db }, builds: { failed } }) =>
      changed(db, 'slots', { n: 1 }, { build_id: failed.id }),
    found: ({ builds }) => [
      new RegExp(`^nothing holds the queue: build ${builds.failed.id} has ended and holds a slot$`),
    ],
  },
  'a counter that is wrong': {
    plant: ({ server: { db } }) => changed(db, 'queue_tenants', { tenant: 'acme' }, { queued: 5 }),
    found: () => [
      /^nothing holds the queue: tenant acme counts 5 queued and 0 running builds, there are 0 and 0$/,
    ],
  },
  'a push with two builds, and one with none': {
    plant: ({ server: { db }, builds: { first, failed, cancelled } }) =>
      Promise.all([
        changed(
          db,
          'builds',
          { id: cancelled.id },
          { push_id: first.pushId, commit: first.commit },
        ),
        changed(db, 'builds', { id: failed.id }, { push_id: null }),
      ]).then((undos) => all(...undos)),
    found: ({ builds: { first, failed, cancelled } }) => [
      new RegExp(
        `^every push .*: ${first.commit!.slice(0, 10)} to .* \\(accepted\\) and has 2 builds`,
      ),
      new RegExp(
        `^every push .*: ${failed.commit!.slice(0, 10)} to .* \\(accepted\\) and has no build`,
      ),
      new RegExp(`^every push .*: ${cancelled.commit!.slice(0, 10)} to .* and has no build`),
      new RegExp(`^every push .*: push ${first.pushId} of .* has 2 builds: .*${cancelled.id}`),
      new RegExp(`^every push .*: push ${failed.pushId} of .* has no build`),
      new RegExp(`^every push .*: push ${cancelled.pushId} of .* has no build`),
    ],
  },
  'a push that was asked for again, and has two builds': {
    plant: ({ server: { db }, builds: { first, failed } }) => {
      const { pushId, commit } = first
      return changed(db, 'builds', { id: failed.id }, { push_id: pushId, commit })
    },
    input: ({ builds: { first, failed }, input: { pushes } }) => ({
      pushes: pushes.flatMap((push) => {
        if (push.commit === failed.commit) return []
        const isFirst = push.commit === first.commit
        return isFirst ? [{ ...push, outcome: 'unknown' as const }, push] : [push]
      }),
    }),
    found: ({ builds: { first, failed } }) => [
      new RegExp(
        `^every push .*: ${first.commit!.slice(0, 10)} to .* 2 times \\(unknown, accepted\\) and has 2 builds`,
      ),
      new RegExp(`^every push .*: push ${first.pushId} of .* has 2 builds: .*${failed.id}`),
      new RegExp(`^every push .*: push ${failed.pushId} of .* has no build`),
    ],
  },
  'a push that arrived unheard, was found again, and has no build': {
    plant: ({ server: { db }, builds: { first } }) =>
      changed(db, 'builds', { id: first.id }, { push_id: null }),
    input: ({ builds: { first }, input: { pushes } }) => ({
      pushes: pushes.flatMap((push) => {
        if (push.commit !== first.commit) return [push]
        const unheard = { ...push, outcome: 'unknown' as const }
        return [unheard, { ...push, detail: 'Everything up-to-date' }]
      }),
    }),
    found: ({ builds: { first } }) => [
      new RegExp(
        `^every push .*: ${first.commit!.slice(0, 10)} to .* \\(unknown, accepted\\) and has no build`,
      ),
      new RegExp(`^every push .*: push ${first.pushId} of .* has no build`),
    ],
  },
  'an app that is gone with its pushes': {
    plant: nothing,
    input: ({ input }) => ({
      pushes: [...input.pushes, { ...input.pushes[0]!, repository: 'acme/gone' }],
    }),
    found: () => [/^every push .*: a push to acme\/gone was accepted, and there are 0 apps/],
  },
}

test('each row that breaks a promise is found', async (t) => {
  await plantEach(t, await givenAudited(t), violations)
})
