// Which images go: a table of cases, and what holds whatever the facts are.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  expiredImages,
  type ImageFacts,
  type ImageGroup,
} from '../../../server/retention/policy.ts'

const NOW = new Date('2026-05-04T12:00:00Z')
const daysAgo = (days: number) => new Date(NOW.getTime() - days * 24 * 3_600_000)

/** `b3 main 12`: build b3 of the line main, ready 12 days ago; `!` pulled an hour ago, `*` its branch's image. */
function image(text: string): ImageFacts {
  const [id = '', line = '-', days = '0', mark] = text.split(' ')
  const at = daysAgo(Number(days))
  const pulledAt = mark === '!' ? new Date(NOW.getTime() - 3_600_000) : undefined
  return {
    id,
    line: line === '-' ? undefined : line,
    isBranchImage: mark === '*',
    createdAt: at,
    completedAt: at,
    pulledAt,
  }
}

const group = (texts: string[], more: Partial<ImageGroup> = {}): ImageGroup => ({
  images: texts.map(image),
  policy: { keepImages: undefined, maxAgeDays: undefined },
  endedLines: new Set(),
  now: NOW,
  ...more,
})
const gone = (texts: string[], more: Partial<ImageGroup> = {}) =>
  expiredImages(group(texts, more)).map(({ id }) => id)

const CASES: { says: string; images: string[]; more: Partial<ImageGroup>; go: string[] }[] = [
  {
    says: 'nothing goes without a rule',
    images: ['a main 900', 'b main 1'],
    more: {},
    go: [],
  },
  {
    says: 'the newest so many stay, in whatever order they come',
    images: ['b main 2', 'd main 4', 'a main 1', 'c main 3'],
    more: { policy: { keepImages: 2, maxAgeDays: undefined } },
    go: ['d', 'c'],
  },
  {
    says: 'the last image of a branch stays, however many others there are and however old it is',
    images: ['a main 1', 'b main 2', 'c main 3', 'd stable 400'],
    more: { policy: { keepImages: 1, maxAgeDays: 30 } },
    go: ['c', 'b'],
  },
  {
    says: "the image that its branch's tag is on stays, also when others of the branch are younger",
    images: ['a main 1', 'b main 2', 'c main 3 *'],
    more: { policy: { keepImages: 1, maxAgeDays: 1 } },
    go: ['b'],
  },
  {
    says: 'a branch that was deleted keeps nothing',
    images: ['a main 1', 'b topic 2 *'],
    more: { policy: { keepImages: 1, maxAgeDays: undefined }, endedLines: new Set(['topic']) },
    go: ['b'],
  },
  {
    says: 'age counts also for those among the newest',
    images: ['a main 40', 'b main 50'],
    more: { policy: { keepImages: 10, maxAgeDays: 30 } },
    go: ['b'],
  },
  {
    says: 'on the very day it is not older',
    images: ['a main 1', 'b main 30'],
    more: { policy: { keepImages: undefined, maxAgeDays: 30 } },
    go: [],
  },
  {
    says: 'an image that was just pulled stays',
    images: ['a - 1', 'b - 50 !', 'c - 60'],
    more: { policy: { keepImages: 1, maxAgeDays: 30 } },
    go: ['c'],
  },
  {
    says: 'what is the latest of nothing is kept by the rules alone',
    images: ['a - 40', 'b - 1'],
    more: { policy: { keepImages: undefined, maxAgeDays: 30 } },
    go: ['a'],
  },
]

for (const { says, images, more, go } of CASES) {
  test(says, () => assert.deepEqual(gone(images, more), go))
}

test('the reason names the rule', () => {
  const policy = { keepImages: 1, maxAgeDays: 30 }
  const found = expiredImages(group(['a main 1', 'b main 2', 'c main 31'], { policy }))
  assert.deepEqual(found, [
    { id: 'c', reason: 'older than 30 days' },
    { id: 'b', reason: 'not among the last 1' },
  ])
})

const facts = fc
  .uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 4 }),
      line: fc.constantFrom(undefined, 'main', 'stable', 'topic'),
      days: fc.integer({ min: 0, max: 100 }),
      took: fc.integer({ min: 0, max: 3 }),
      pulled: fc.option(fc.integer({ min: 0, max: 100 }), { nil: undefined }),
    }),
    { selector: ({ id }) => id, maxLength: 30 },
  )
  .map((all) =>
    all.map(({ id, line, days, took, pulled }) => ({
      id,
      line,
      isBranchImage: false,
      createdAt: daysAgo(days + took),
      completedAt: daysAgo(days),
      pulledAt: pulled === undefined ? undefined : daysAgo(pulled),
    })),
  )
const policies = fc.record({
  keepImages: fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }),
  maxAgeDays: fc.option(fc.integer({ min: 1, max: 100 }), { nil: undefined }),
})

test('whatever the facts: each line keeps its newest, the pulled stay, and at most the others go', () => {
  fc.assert(
    fc.property(facts, policies, (images, policy) => {
      const group = { images, policy, endedLines: new Set(['topic']), now: NOW }
      const went = new Set(expiredImages(group).map(({ id }) => id))
      const newest = [...images].sort(
        (a, b) => b.createdAt.getTime() - a.createdAt.getTime() || (a.id < b.id ? 1 : -1),
      )
      for (const line of ['main', 'stable']) {
        const last = newest.find((each) => each.line === line)
        if (last) assert.ok(!went.has(last.id), `${last.id} is the last of ${line}`)
      }
      for (const [rank, each] of newest.entries()) {
        const isOld = each.completedAt < daysAgo(policy.maxAgeDays ?? Number.POSITIVE_INFINITY)
        const isMany = rank >= (policy.keepImages ?? Number.POSITIVE_INFINITY)
        if (went.has(each.id)) assert.ok(isOld || isMany, `${each.id} went without a rule`)
        if (went.has(each.id)) assert.ok(!(each.pulledAt && each.pulledAt > daysAgo(0.9)))
      }
    }),
  )
})

test('whatever the facts: the order in which they come changes nothing, and a second look finds nothing more', () => {
  fc.assert(
    fc.property(facts, policies, (images, policy) => {
      const rest = { policy, endedLines: new Set<string>(), now: NOW }
      const first = expiredImages({ images, ...rest })
      assert.deepEqual(expiredImages({ images: [...images].reverse(), ...rest }), first)
      const went = new Set(first.map(({ id }) => id))
      const left = images.filter(({ id }) => !went.has(id))
      assert.deepEqual(expiredImages({ images: left, ...rest }), [])
    }),
  )
})
