// The first thing that runs, before node_modules exist: plain JavaScript without dependencies.
// `node server/setup/bootstrap.mjs <verb> [arguments]`; every npm script comes through here.
// It never writes to stdout itself: `npm run -s token` prints a token and nothing else.
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ensureNodeModules } from './bootstrap/node-modules.mjs'
import { machineProblem } from './bootstrap/requirements.mjs'
import { runClientTests, runTests } from './bootstrap/test-run.mjs'

const root = fileURLToPath(new URL('../../', import.meta.url))
const inRoot = (path) => pathToFileURL(`${root}${path}`).href

/** Verbs that are not the command line's own. */
const VERBS = {
  async test(args) {
    await setUp()
    process.exitCode = await runTests(root, args)
  },
  async 'test:clients'(args) {
    await setUp()
    process.exitCode = await runClientTests(root, args)
  },
  async bench(args) {
    await setUp()
    process.argv.splice(2, Infinity, ...args)
    await import(inRoot('test/bench/bench.ts'))
  },
  async fuzz(args) {
    await setUp()
    process.argv.splice(2, Infinity, ...args)
    await import(inRoot('test/fuzz/fuzz.ts'))
  },
  async 'test:chaos'(args) {
    await setUp()
    process.argv.splice(2, Infinity, ...args)
    await import(inRoot('test/chaos/chaos.ts'))
  },
}

async function setUp() {
  const { ensureParts } = await import(inRoot('server/setup/parts.ts'))
  await ensureParts()
}

async function main() {
  const problem = machineProblem(process)
  if (problem) throw new Error(problem)
  // Everything after this reads the answer from the environment.
  if (process.argv.includes('--yes')) process.env.HYPEMAN_YES = '1'
  process.argv = process.argv.filter((word) => word !== '--yes')
  const [verb = '', ...args] = process.argv.slice(2)
  await ensureNodeModules(root)
  const { register } = await import('tsx/esm/api')
  register()
  const own = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined
  // In this process, so that a signal to it is a signal to the server.
  await (own ? own(args) : import(inRoot('server/cli.ts')))
}

main().catch((error) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
})
