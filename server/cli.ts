// The verbs of the command line, thin: `start`, `worker`, `token`, `retention`, `garbage`, `doctor`, `setup`. npm
// scripts come through setup/bootstrap.mjs, which makes sure that node_modules exist.
import { ConfigError, takeConfig } from './config.ts'
import { asError } from './errors.ts'

const VERBS: Record<string, (args: string[]) => Promise<void>> = {
  async start() {
    const { main } = await import('./main.ts')
    await main(takeConfig())
  },
  async worker() {
    const { main } = await import('./main.ts')
    await main({ ...takeConfig(), role: 'worker' })
  },
  async token(args) {
    const { runTokenCommand } = await import('./auth/token-cli.ts')
    await runTokenCommand(args, takeConfig())
  },
  async retention(args) {
    const { runRetentionCommand } = await import('./retention/cli.ts')
    await runRetentionCommand(args, takeConfig())
  },
  async garbage(args) {
    const { runGarbageCommand } = await import('./garbage/cli.ts')
    await runGarbageCommand(args, takeConfig())
  },
  async doctor() {
    const { runDoctor } = await import('./setup/doctor.ts')
    await runDoctor(takeConfig())
  },
  async setup() {
    const { runSetup } = await import('./setup/setup.ts')
    await runSetup()
  },
}

const [verb = '', ...args] = process.argv.slice(2)
const run = VERBS[verb]
if (!run) {
  console.error(
    `error: unknown command ${JSON.stringify(verb)}; known: ${Object.keys(VERBS).join(', ')}`,
  )
  process.exitCode = 2
} else {
  await run(args).catch((error: unknown) => {
    const known = asError(error)
    const shown = known instanceof ConfigError || process.env.LOG_LEVEL !== 'debug'
    console.error(`error: ${shown ? known.message : known.stack}`)
    process.exitCode = 1
  })
}
