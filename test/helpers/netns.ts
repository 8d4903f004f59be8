// Two network namespaces of the test's own: a worker host, and beyond a wire everything else. Real addresses,
// real listeners, and nothing of this machine's network is touched.
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execa, execaSync } from 'execa'
import { removeFolder } from './folders.ts'

const PLAYER = fileURLToPath(new URL('./netns-player.ts', import.meta.url))

/** Why namespaces can't be made here; null when they can. */
export function noNamespacesReason(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces are made by root'
  const done = execaSync('unshare', ['--net', 'ip', 'link'], { reject: false })
  return done.failed ? `unshare --net ip link: ${done.stderr || done.shortMessage}` : null
}

/** What a player is told to be, as its one argument. */
export type Part =
  | {
      listen: { address: string; port: number; label: string; redirects?: Record<string, string> }[]
    }
  | {
      proxy: {
        path: string
        allowedDomains?: string[]
        /** Answers of the name server, one after the other; the last one stays. */
        names: Record<string, string[][]>
      }
    }
  | { reach: string[] }

export interface Addresses {
  host: readonly string[]
  beyond: readonly string[]
}

/** `host` and `beyond` see each other by a wire; each has its addresses and routes to those of the other. */
export async function givenNamespaces(t: TestContext, addresses: Addresses) {
  const mark = `${process.pid.toString(36)}${Math.random().toString(36).slice(2, 5)}`
  const names = { host: `hm-h-${mark}`, beyond: `hm-b-${mark}` }
  const wires = { host: `vh${mark}`.slice(0, 15), beyond: `vb${mark}`.slice(0, 15) }
  const dir = await mkdtemp(join(tmpdir(), 'hm-netns-'))
  const ip = (...args: string[]) => execa('ip', args)
  t.after(async () => {
    for (const name of Object.values(names))
      await execa('ip', ['netns', 'delete', name], { reject: false })
    await removeFolder(dir)
  })
  for (const name of Object.values(names)) await ip('netns', 'add', name)
  await ip(
    ...['link', 'add', wires.host, 'netns', names.host, 'type', 'veth'],
    ...['peer', 'name', wires.beyond, 'netns', names.beyond],
  )
  for (const side of ['host', 'beyond'] as const) {
    const other = side === 'host' ? 'beyond' : 'host'
    const at = (...args: string[]) => ip('-n', names[side], ...args)
    await at('link', 'set', 'lo', 'up')
    await at('link', 'set', wires[side], 'up')
    for (const address of addresses[side]) {
      const bits = address.includes(':') ? [`${address}/128`, 'nodad'] : [`${address}/32`]
      await at('address', 'add', ...bits, 'dev', wires[side])
    }
    for (const address of addresses[other]) {
      await at(
        ...(address.includes(':') ? ['-6'] : []),
        'route',
        'add',
        address,
        'dev',
        wires[side],
      )
    }
  }

  /** A program of its own in one of the two; tells line by line what happens to it. */
  async function play(side: keyof Addresses, part: Part) {
    const node = [process.execPath, '--import', 'tsx', PLAYER, JSON.stringify(part)]
    const child = execa('ip', ['netns', 'exec', names[side], ...node], {
      stdio: ['pipe', 'pipe', 'inherit'],
      reject: false,
    })
    const told: string[] = []
    const lines = createInterface({ input: child.stdout })
    lines.on('line', (line) => told.push(line))
    const ended = once(lines, 'close')
    t.after(async () => {
      child.stdin.end() // which is how it knows
      await child
    })
    if (!('reach' in part)) await once(lines, 'line')
    return { told, ended }
  }
  return { dir, play }
}
