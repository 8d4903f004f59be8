// A registry that stands in for docker.io: real, with `library/base:1` in it, and away when the test says so.
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { openUpstream } from '../../server/registry/upstream.ts'
import { givenBusyboxImage } from './images.ts'
import { testParts } from './parts.ts'
import { givenRegistry, listen } from './registry.ts'

export interface BaseRegistry {
  url: string
  /** Of `library/base:1`, a busybox. */
  digest: string
  /** Answers nobody but with 429. */
  isAway: boolean
}

export async function givenBaseRegistry(t: TestContext): Promise<BaseRegistry> {
  const { upstream, dir } = await givenRegistry(t)
  const hub = { url: '', digest: '', isAway: false }
  const server = http.createServer(async (req, res) => {
    if (hub.isAway) {
      res.writeHead(429).end()
      return
    }
    const { method = 'GET', url: path = '', headers } = req
    const body = method === 'GET' || method === 'HEAD' ? undefined : req
    const { signal } = new AbortController()
    const reply = await openUpstream(upstream, { method, path, headers, body, signal })
    res.writeHead(reply.statusCode ?? 502, reply.headers)
    reply.pipe(res)
  })
  hub.url = await listen(t, server)
  const { skopeo } = await testParts()
  const image = `docker://${new URL(hub.url).host}/library/base:1`
  const digestFile = join(dir, 'digest')
  const files = ['--dest-tls-verify=false', '--digestfile', digestFile]
  await execa(skopeo, ['copy', ...files, `oci:${await givenBusyboxImage(t)}`, image])
  hub.digest = (await readFile(digestFile, 'utf8')).trim()
  return hub
}
