// Builds of a repository elsewhere on real parts: fetched in the sandbox from a real git server over TLS.
import assert from 'node:assert/strict'
import { lookup } from 'node:dns/promises'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { NetworkConnection } from '../../server/builds/connections.ts'
import { skopeo } from '../helpers/apps.ts'
import { givenGitHost } from '../helpers/git-host.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { givenTlsRegistry } from '../helpers/internet.ts'
import { leftovers } from '../helpers/leftovers.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'
import { post } from '../helpers/sources.ts'

const TOKEN = 'hunter2-of-git'

async function givenSecrets(t: TestContext, id: string, value: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-secrets-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  await mkdir(join(dir, 'shared'))
  await writeFile(join(dir, 'shared', id), `${value}\n`)
  return dir
}

test('repo_url is fetched in the sandbox, under the policy of the build', async (t) => {
  const name = hostname()
  const { address } = await lookup(name)
  let onFetch: (() => void) | undefined
  const remote = await givenGitHost(t, {
    names: [name],
    address,
    credentials: `git:${TOKEN}`,
    intercept() {
      onFetch?.()
      return onFetch !== undefined
    },
  })
  const repo = await remote.repository('hello', 'hello')
  await repo.publish()
  const commit = await repo.git('rev-parse', 'HEAD')
  const committed = new Date(Number(await repo.git('log', '-1', '--format=%ct')) * 1000)
  const server = await givenServer(t, {
    EGRESS_ALLOW_ADDRESSES: address,
    EGRESS_CA_FILE: remote.certificate.certFile,
    BUILD_SECRETS_DIR: await givenSecrets(t, 'git_token', TOKEN),
    RUNNER: await fastestRunner(),
  })
  const token = await server.token('ada')
  const url = remote.url('hello.git')
  const secret: [string, string] = ['repo_secret', 'git_token']

  const submit = async (...fields: [string, string][]) => {
    const reply = await server.api('/builds', token, post(...fields))
    const build = (await reply.json()) as { id: string }
    assert.equal(reply.status, 202, JSON.stringify(build))
    return build.id
  }
  const build = async (...fields: [string, string][]) => {
    const id = await submit(...fields)
    const ended = await server.ended(id, token)
    const headers = { accept: 'text/plain' }
    const log = await (await server.api(`/builds/${id}/events`, token, { headers })).text()
    return { ...ended, log }
  }

  const first = await build(['repo_url', url], ['ref', 'main'], secret)

  await t.test('commit, ref and times are those of the repository', async () => {
    assert.equal(first.status, 'ready', first.log)
    assert.deepEqual([first.repo_url, first.ref, first.commit], [url, 'refs/heads/main', commit])
    assert.deepEqual(first.provenance?.source, { url, ref: 'refs/heads/main', commit })
    assert.ok(first.log.includes(`-----> Fetching ${url} (main)\n`), first.log)
    assert.match(first.log, /^counting 3$/m)
    const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
    const inspected = await skopeo('inspect', ...creds, `docker://${first.image_ref}`)
    const labels = JSON.parse(inspected).Labels
    assert.equal(labels['org.opencontainers.image.revision'], commit)
    assert.equal(labels['org.opencontainers.image.source'], url)
    assert.equal(labels['org.opencontainers.image.created'], committed.toISOString())
  })

  await t.test('the same commit by its hash gives the same image', async () => {
    const again = await build(['repo_url', url], ['ref', commit], ['no_cache', 'true'], secret)
    assert.equal(again.status, 'ready', again.log)
    assert.equal(again.image_digest, first.image_digest)
    assert.equal(again.provenance?.source_hash, first.provenance?.source_hash)
  })

  await t.test('git is named among the connections, its secret nowhere', async () => {
    const reply = await server.api(`/builds/${first.id}/connections`, token)
    const { network_connections: events } = (await reply.json()) as {
      network_connections: NetworkConnection[]
    }
    assert.match(events[0]?.process ?? '', /git-remote-http/)
    const tables = await server.sql<{ text: string }>(
      `select jsonb_agg(b)::text || (select jsonb_agg(e)::text from build_events e) as text from builds b`,
    )
    assert.ok(!tables[0]!.text.includes(TOKEN))
  })

  await t.test('a base image comes from a registry with that certificate as well', async () => {
    const layout = await givenBusyboxImage(t)
    const registry = await givenTlsRegistry(t, address, layout, remote.certificate)
    await repo.write('Dockerfile', `FROM ${name}:${registry.port}/base:1\nCOPY hello.sh /\n`)
    await repo.commit()
    await repo.publish()
    const based = await build(['repo_url', url], secret)
    assert.equal(based.status, 'ready', based.log)
    assert.equal(based.provenance?.base_images?.length, 1)
  })

  await t.test('what cannot be fetched fails as source, and says why', async () => {
    const locked = await build(['repo_url', url])
    assert.deepEqual([locked.status, locked.failure_class], ['failed', 'source'], locked.log)
    assert.match(locked.error ?? '', /not found there, or it needs credentials/)
    const inside = await build(['repo_url', 'https://10.1.2.3/hello.git'])
    assert.equal(inside.failure_class, 'source', inside.log)
    assert.match(inside.error ?? '', /\(10\.1\.2\.3:443 is not a public address;/)
  })

  await t.test('a cancel while it is fetched ends it', async () => {
    const fetching = new Promise<void>((resolve) => {
      onFetch = resolve
    })
    const id = await submit(['repo_url', url])
    await fetching
    assert.equal((await server.api(`/builds/${id}`, token, { method: 'DELETE' })).status, 204)
    assert.equal((await server.build(id, token)).status, 'cancelled')
    assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  })
})
