// `npm run -s retention`: asks the running server for a run of the retention, or for what one would delete.
import { parseArgs } from 'node:util'
import { askServer } from '../ask-server.ts'
import type { Config } from '../config.ts'
import { renderReport } from './render.ts'
import { WireReport } from './wire-report.ts'

export async function runRetentionCommand(
  args: string[],
  config: Config,
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Promise<void> {
  const options = {
    'dry-run': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  } as const
  const { values } = parseArgs({ args, options })
  const path = `/admin/retention?dry_run=${values['dry-run']}`
  const question = { path, permission: 'retention:admin', who: 'retention' }
  const reply = WireReport.parse(await askServer(config, question))
  const shown = values.json ? JSON.stringify(reply, null, 2) : renderReport(reply)
  print(`${shown}\n`)
  if (reply.failures.length > 0) process.exitCode = 1
}
