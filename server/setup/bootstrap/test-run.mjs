// `npm test`: format and lint, types, then every test file. Unit, database and git tests run two files at a
// time; the end-to-end ones one at a time, because each boots machines and measures seconds.
// With arguments only the test files whose path contains one of them run, without the checks.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const COUNTS_REPORTER = fileURLToPath(new URL('test-counts.mjs', import.meta.url))
const FILE_DEADLINE_MS = 20 * 60_000
const COUNTS = ['tests', 'suites', 'pass', 'fail', 'cancelled', 'skipped', 'todo', 'duration_ms']

/** Returns the exit code. */
export async function runTests(root, filters) {
  const groups = groupFiles(testFiles(root, '.test.ts'), filters)
  if (groups.length === 0) {
    process.stderr.write(`error: no test file has ${filters.join(' or ')} in its path\n`)
    return 1
  }
  if (filters.length === 0 && !(await checksPass(root))) return 1
  const results = []
  for (const group of groups) results.push(await runGroup(root, group))
  if (results.length > 1) printTotal(results.map(({ counts }) => counts))
  return results.every(({ code }) => code === 0) ? 0 : 1
}

/** `npm run test:clients`: git clients from other registries, one after the other. Returns the exit code. */
export async function runClientTests(root, filters) {
  const isChosen = (file) => filters.length === 0 || filters.some((word) => file.includes(word))
  const files = testFiles(root, '.clients.ts').filter(isChosen)
  if (files.length > 0) return (await runGroup(root, { files, concurrency: 1 })).code
  process.stderr.write(`error: no client of test/clients has ${filters.join(' or ')} in its name\n`)
  return 1
}

function testFiles(root, ending) {
  return readdirSync(join(root, 'test'), { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => `test/${name}`)
    .sort()
}

/** Groups with at least one file, in the order in which they run. */
export function groupFiles(files, filters) {
  const isChosen = (file) => filters.length === 0 || filters.some((word) => file.includes(word))
  const chosen = files.filter(isChosen)
  const isSlow = (file) => file.startsWith('test/e2e/')
  const fast = { files: chosen.filter((file) => !isSlow(file)), concurrency: 2 }
  const slow = { files: chosen.filter(isSlow), concurrency: 1 }
  return [fast, slow].filter((group) => group.files.length > 0)
}

async function checksPass(root) {
  const checks = [
    ['biome', 'check', '--error-on-warnings', '.'],
    ['tsc', '-p', '.'],
  ]
  for (const [tool, ...args] of checks) {
    const code = await run(join(root, 'node_modules/.bin', tool), args, root)
    if (code === 0) continue
    process.stderr.write(`error: ${tool} ${args.join(' ')} failed; no test was run\n`)
    return false
  }
  return true
}

async function runGroup(root, { files, concurrency }) {
  const folder = mkdtempSync(join(tmpdir(), 'hypeman-test-'))
  const countsFile = join(folder, 'counts.json')
  const reporters = ['spec', 'stdout', COUNTS_REPORTER, countsFile]
  const flags = [
    ...['--import', 'tsx', '--test'],
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${FILE_DEADLINE_MS}`,
    ...reporters.map((value, i) => `--test-reporter${i % 2 ? '-destination' : ''}=${value}`),
  ]
  try {
    const code = await run(process.execPath, [...flags, ...files], root)
    return { code, counts: JSON.parse(readFileSync(countsFile, 'utf8') || '{}') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The whole run in the runner's own words. */
function printTotal(all) {
  const total = (name) => Math.round(all.reduce((sum, counts) => sum + (counts[name] ?? 0), 0))
  process.stdout.write('\nall test files\n')
  for (const name of COUNTS) process.stdout.write(`ℹ ${name} ${total(name)}\n`)
}

/** Ctrl-C reaches the child by itself, as it is in our process group; a SIGTERM is passed on. */
function run(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit' })
    const passOn = () => child.kill('SIGTERM')
    const wait = () => {}
    process.on('SIGTERM', passOn).on('SIGINT', wait)
    child.once('error', reject)
    child.once('exit', (code) => {
      process.off('SIGTERM', passOn).off('SIGINT', wait)
      resolve(code ?? 1)
    })
  })
}
