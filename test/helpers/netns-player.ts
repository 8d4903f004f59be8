// A program inside a network namespace: listeners that say who was reached, the egress proxy behind a unix
// socket, or somebody who goes out without it. Ends when its input ends.
import { once } from 'node:events'
import http from 'node:http'
import { createServer } from 'node:net'
import { pino } from 'pino'
import { createBuildEgress } from '../../server/egress/builds.ts'
import type { Part } from './netns.ts'

const part = JSON.parse(process.argv[2] ?? '') as Part
const say = (line: string) => process.stdout.write(`${line}\n`)
process.stdin.resume().once('end', () => process.exit(0))

if ('listen' in part) {
  for (const { address, port, label, redirects = {} } of part.listen) {
    const server = http.createServer((req, res) => {
      say(`${label} ${req.headers['x-by'] ?? 'build'}`)
      const location = redirects[req.url ?? '']
      if (location) res.writeHead(302, { location })
      res.end(label)
    })
    server.listen(port, address)
    await once(server, 'listening')
  }
  say('ready')
} else if ('proxy' in part) {
  const { path, allowedDomains, names } = part.proxy
  const open = createBuildEgress({
    allowAddresses: [],
    log: pino({ level: 'silent' }),
    async resolve(host) {
      const answers = names[host]
      if (!answers?.[0]) throw new Error(`getaddrinfo ENOTFOUND ${host}`)
      say(`looked up ${host}`)
      return (answers.length > 1 ? answers.shift() : answers[0]) ?? []
    },
  })
  const onEvent = ({ reason }: { reason?: string }) => void (reason && say(`no: ${reason}`))
  const egress = open({ buildId: 'b', allowedDomains, onEvent })
  createServer((socket) => egress.handle(socket)).listen(path, () => say('ready'))
} else {
  for (const url of part.reach) {
    const reply = await fetch(url, { headers: { 'x-by': 'host' } })
    say(`${url} ${await reply.text()}`)
  }
  process.exit(0)
}
