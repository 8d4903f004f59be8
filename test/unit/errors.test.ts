// One table of errors: complete, as seed 000 names them, and the same in the README. Weakness 35 is documents that
// say something else than the code.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { FailureClass } from '../../server/builds/schema.ts'
import { AppError, BUILD_ENDS, ERROR_CODES, ERRORS } from '../../server/errors.ts'
import { createRoutes, type RoutesOptions } from '../../server/http/routes.ts'
import {
  LONG_POLL_MS_MAX,
  PAGE_ROWS_DEFAULT,
  PAGE_ROWS_MAX,
  SSE_HEARTBEAT_MS,
  STREAM_STALL_MS,
} from '../../server/limits.ts'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** The cells of the rows of a table that begin with what the pattern says. */
function rowsOf(pattern: RegExp): string[][] {
  return readme
    .slice(readme.indexOf('### Errors'))
    .split('\n')
    .filter((line) => pattern.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
}

test('the errors of seed 000 have the status it gives them', () => {
  const bySeed = Object.fromEntries(
    Object.values(ERRORS).flatMap((row) => ('seed' in row ? [[row.seed, row.status]] : [])),
  )
  assert.deepEqual(bySeed, {
    ErrNotFound: 404,
    ErrAlreadyExists: 409,
    ErrDockerfileRequired: 400,
    ErrInvalidSource: 400,
    ErrSourceHashMismatch: 400,
    ErrBuilderNotReady: 503,
    ErrBuildInProgress: 409,
  })
  assert.equal(new AppError('conflict', 'x').status, 409)
})

test('each failure class stands behind one of the errors that are ends of a build', () => {
  const classes = Object.values(BUILD_ENDS).flatMap((end) => [...end.classes])
  assert.deepEqual([...classes].sort(), [...FailureClass.options].sort())
})

test('weakness 35: the README has the table of errors as the code has it', () => {
  const documented = rowsOf(/^\| `[a-z_]+` \| \d{3} \|/)
  const expected = ERROR_CODES.map((code) => {
    const row = ERRORS[code]
    return [`\`${code}\``, String(row.status), 'seed' in row ? row.seed : '', row.means]
  })
  assert.deepEqual(documented, expected)
  const ends = Object.entries(BUILD_ENDS).map(([seed, { status, classes }]) => [
    seed,
    `\`${status}\``,
    classes.map((name) => `\`${name}\``).join(', '),
  ])
  assert.deepEqual(rowsOf(/^\| ErrBuild\w+ \|/), ends)
})

test('weakness 35: the README names every path, and the limits as they are', () => {
  // Only the rows are looked at; nothing of theirs is called.
  const routes = createRoutes({} as RoutesOptions)
  for (const { path } of routes) {
    if (path.startsWith('/docs/')) continue // what the page is made of
    assert.ok(readme.includes(path), path)
  }
  for (const fact of [
    `\`limit\` (${PAGE_ROWS_DEFAULT}, at most ${PAGE_ROWS_MAX})`,
    `(at most \`${LONG_POLL_MS_MAX / 1000}s\`)`,
    `\`heartbeat\` fills each ${SSE_HEARTBEAT_MS / 1000} s`,
    `takes nothing for ${STREAM_STALL_MS / 1000} s`,
  ]) {
    assert.ok(readme.replaceAll(/\s+/g, ' ').includes(fact), fact)
  }
})
