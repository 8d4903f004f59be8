// `npm run -s garbage`: asks the running server to collect the garbage of its registry now.
import { parseArgs } from 'node:util'
import type { z } from 'zod'
import { askServer } from '../ask-server.ts'
import type { Config } from '../config.ts'
import { sizeText } from '../size-text.ts'
import { WireCollected } from './wire.ts'

export async function runGarbageCommand(
  args: string[],
  config: Config,
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Promise<void> {
  const options = { json: { type: 'boolean', default: false } } as const
  const { values } = parseArgs({ args, options })
  const question = { path: '/admin/garbage', permission: 'registry:admin', who: 'garbage' }
  const reply = WireCollected.parse(await askServer(config, question))
  print(`${values.json ? JSON.stringify(reply, null, 2) : render(reply)}\n`)
}

function render(reply: z.infer<typeof WireCollected>): string {
  const { repositories, skipped, blobs_before: before, blobs_after: after } = reply
  const damaged = skipped > 0 ? `, ${skipped} of them damaged and left as they are` : ''
  return [
    `repositories: ${repositories}${damaged}`,
    `removed: ${reply.manifests_removed} manifests, ${reply.links_removed} links, ${reply.uploads_removed} uploads`,
    `blobs: ${before} before, ${after} after; ${sizeText(reply.bytes_freed)} freed`,
    `writes held: ${reply.stall_ms} ms, the longest ${reply.stall_max_ms} ms`,
  ].join('\n')
}
