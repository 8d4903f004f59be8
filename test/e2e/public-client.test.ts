// The published client of seed 000, unmodified, against the whole server with its guests.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { ConflictError, toFile } from '@onkernel/hypeman'
import { execa } from 'execa'
import type { BuildStep } from '../../server/builds/schema.ts'
import { skopeo } from '../helpers/apps.ts'
import { podPids } from '../helpers/leftovers.ts'
import { followToEnd, linesOf, publicClient, statusesOf } from '../helpers/public-client.ts'
import { givenRepo } from '../helpers/repo.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

async function archiveOf(t: TestContext, fixture: string) {
  const { dir } = await givenRepo(t, fixture)
  const options = { encoding: 'buffer' } as const
  const { stdout } = await execa('tar', ['-cz', '--exclude=.git', '-C', dir, '.'], options)
  return toFile(stdout, 'source.tar.gz')
}

test('the public client builds, follows, reads and cancels', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  const client = publicClient(server.url, token)
  assert.equal((await client.health.check()).status, 'ok')

  await t.test('a source becomes an image that can be pulled', async () => {
    const source = await archiveOf(t, 'hello')
    const { id } = await client.builds.create({ source, tags: '{"team":"backend"}' })
    const events = await followToEnd(client, id)
    assert.deepEqual(statusesOf(events), ['queued', 'building', 'pushing', 'ready'])
    const lines = linesOf(events)
    assert.deepEqual(
      lines.filter((line) => /^counting/.test(line)),
      ['counting 1', 'counting 2', 'counting 3'],
    )
    const build = await client.builds.get(id)
    assert.equal(build.status, 'ready')
    assert.equal(build.provenance?.buildkit_version, 'v0.33.1')
    const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
    const inspected = await skopeo('inspect', ...creds, `docker://${build.image_ref}`)
    assert.equal(JSON.parse(inspected).Digest, build.image_digest)
    const listed = await client.builds.list({ tags: { team: 'backend' } })
    assert.deepEqual(
      listed.map((one) => one.id),
      [id],
    )
    await assert.rejects(client.builds.cancel(id), ConflictError)
    const reply = await server.api(`/builds/${id}/steps`, token)
    const steps = (await reply.json()) as BuildStep[]
    assert.ok(steps.length > 2)
    for (const { state } of steps) assert.ok(['done', 'cached'].includes(state), state)
  })

  await t.test(
    'a running build is cancelled with its machine, and nothing of it is pushed',
    async () => {
      const source = await archiveOf(t, 'slow')
      const { id } = await client.builds.create({ source })
      const statuses: string[] = []
      let isAsked = false
      for await (const event of await client.builds.events(id, { follow: true })) {
        if (event.status) statuses.push(event.status)
        if (isAsked || !event.content?.startsWith('tick')) continue
        isAsked = true
        await client.builds.cancel(id)
        assert.deepEqual(await podPids(server.pid), [])
      }
      assert.deepEqual(statuses, ['queued', 'building', 'cancelled'])
      const build = await client.builds.get(id)
      assert.ok(build.completed_at)
      const manifest = await server.api(`/v2/builds/${id}/manifests/latest`, token)
      assert.equal(manifest.status, 404)
    },
  )
})
