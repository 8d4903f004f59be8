// A real guest: the base image pinned by digest, a Dockerfile given as text, build arguments of any value, and a
// channel that breaks in the middle.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import type { BuildConfig } from '../../agent/protocol.ts'
import { converse } from '../../server/pipeline/conversation.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { testParts } from '../helpers/parts.ts'
import { givenRunner, pipeTo, podSpec, sourceTar } from '../helpers/pods.ts'
import { givenProxy, givenRegistry, operator } from '../helpers/registry.ts'

const BASE = 'library/base:1'

/** Two images, one after the other, under the same tag. */
async function givenBases(t: TestContext, host: string): Promise<[string, string]> {
  const { umoci, skopeo } = await testParts()
  const image = await givenBusyboxImage(t)
  const creds = `root:${await operator()}`
  const push = async (version: string) => {
    await execa(umoci, ['config', '--image', image, '--config.label', `version=${version}`])
    const to = ['--dest-tls-verify=false', '--dest-creds', creds, `docker://${host}/${BASE}`]
    await execa(skopeo, ['copy', ...to.slice(0, -1), `oci:${image}`, to.at(-1)!])
    const from = ['--tls-verify=false', '--creds', creds, `docker://${host}/${BASE}`]
    return JSON.parse((await execa(skopeo, ['inspect', ...from])).stdout).Digest as string
  }
  return [await push('old'), await push('new')]
}

test('weakness 19: base_image_digest pins what a tag has moved away from, over a channel that breaks', async (t) => {
  const { upstream } = await givenRegistry(t)
  const socketPath = upstream.kind === 'socket' ? upstream.socketPath : ''
  const { host } = await givenProxy(t, upstream)
  const [old, current] = await givenBases(t, host)
  const { runner } = await givenRunner(t)
  const folder = await mkdtemp(join(tmpdir(), 'hm-pin-'))
  t.after(() => rm(folder, { recursive: true }))
  const source = await sourceTar(folder, 'hello')
  const never = new AbortController().signal

  async function build(id: string, more: Partial<BuildConfig>) {
    const spec = podSpec(id, source, { services: new Map([[5000, pipeTo(socketPath)]]) })
    const pod = await runner.start({ ...spec, config: { ...spec.config, ...more } }, never)
    const lines: string[] = []
    let channel: Duplex | undefined
    let reconnects = 0
    try {
      const result = await converse({
        buildId: id,
        key: spec.config.channel_key,
        signal: never,
        async dial(signal) {
          channel = await pod.connect(signal)
          return channel
        },
        handlers: {
          onHello: async () => {},
          onPushing: async () => {},
          onReconnect: () => {
            reconnects += 1
          },
          async onEvent(event) {
            if (event.type !== 'log') return
            lines.push(event.line)
            if (/^counting [24]$/.test(event.line)) channel?.destroy()
          },
        },
      })
      return { result, lines, reconnects }
    } finally {
      await pod.stop()
    }
  }

  await t.test('the tag leads elsewhere, the digest is what is built on', async () => {
    const MSG = `a,b=c "q" 's' --opt network=host\nsecond line, force-network-mode=host`
    const { result, lines, reconnects } = await build('pinned', {
      base_image_digest: old,
      build_args: { MSG },
      dockerfile: [
        'ARG TAG=1',
        `FROM localhost:5000/library/base:$TAG AS one`,
        'FROM one',
        'ARG MSG',
        'RUN echo "$MSG"; for i in 1 2 3 4 5; do echo "counting $i"; sleep 1; done',
      ].join('\n'),
    })
    assert.equal(result.error, undefined)
    assert.equal(result.provenance.base_image_digest, old)
    assert.deepEqual(result.provenance.base_images, [
      { ref: `registry.test:8083/${BASE}`, digest: old },
    ])
    const counted = [1, 2, 3, 4, 5].map((n) => `counting ${n}`)
    assert.deepEqual(lines, ['Using Dockerfile from the request', ...MSG.split('\n'), ...counted])
    assert.equal(reconnects, 2)
  })

  await t.test('a Dockerfile that says another digest is refused with both', async () => {
    const dockerfile = `FROM localhost:5000/${BASE}@${current}\nRUN true\n`
    const { result } = await build('other', { base_image_digest: old, dockerfile })
    assert.equal(result.failure_class, 'build')
    assert.match(result.error ?? '', new RegExp(`${old}.*${current}`))
  })
})
