// The same commit gives the same image, byte for byte, and what is attested about it lies beside it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenApp, imageName, skopeo } from '../helpers/apps.ts'
import { runImage } from '../helpers/images.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'
import { formOf } from '../helpers/sources.ts'

async function rebuilt(server: TestServer, token: string, attestations: string, noCache = 'true') {
  const body = formOf(
    ['app', 'hello'],
    ['ref', 'main'],
    ['no_cache', noCache],
    ['attestations', attestations],
    ['image_name', 'apps/acme/hello-again'],
  )
  const reply = await server.api('/builds', token, { method: 'POST', body })
  const { id } = (await reply.json()) as { id: string }
  const build = await server.ended(id, token)
  assert.equal(build.status, 'ready', build.error)
  return build
}

test('the same commit built again without cache has the same digest, whatever is attested beside it', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada', { tenant: 'acme' })
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  const push = await repo.push('hypeman', 'main')
  const first = await server.build(push.buildId!, token)
  assert.equal(first.status, 'ready', push.text)
  const max = await rebuilt(server, token, '{"provenance":"max"}')
  const off = await rebuilt(server, token, '{"provenance":"off"}')
  const cached = await rebuilt(server, token, '{}', 'false')
  assert.equal(max.image_digest, first.image_digest)
  assert.equal(cached.image_digest, first.image_digest, 'from cache as well')
  assert.equal(off.image_digest, first.image_digest)
  assert.notEqual(max.provenance?.attestations_digest, first.provenance?.attestations_digest)
  assert.equal(off.provenance?.attestations_digest, undefined)

  const auth = ['--src-tls-verify=false', '--src-creds', `ada:${token}`]
  for (const name of [`builds/${first.id}`, 'apps/acme/hello-again']) {
    assert.match(await runImage(t, imageName(server, name), auth), /hello/)
  }

  const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
  const inspect = (...args: string[]) => skopeo('inspect', ...creds, ...args)
  const { Labels: labels } = JSON.parse(await inspect(imageName(server, `builds/${first.id}`)))
  const at = await repo.git('show', '--no-patch', '--format=%ct', 'HEAD')
  assert.deepEqual(labels, {
    'org.opencontainers.image.revision': first.commit,
    'org.opencontainers.image.source': `${server.url}/acme/hello.git`,
    'org.opencontainers.image.created': new Date(Number(at) * 1000).toISOString(),
  })

  const index = JSON.parse(
    await inspect('--raw', imageName(server, `builds/${first.id}:attested`)),
  ) as { manifests: { digest: string; annotations?: Record<string, string> }[] }
  const [image, attestation] = index.manifests
  assert.equal(image?.digest, first.image_digest)
  assert.equal(attestation?.annotations?.['vnd.docker.reference.digest'], first.image_digest)
  const statement = await predicate(server, token, `builds/${first.id}`, attestation!.digest)
  assert.equal(statement.predicateType, 'https://slsa.dev/provenance/v1')
  assert.equal(statement.subject[0]?.digest.sha256, first.image_digest?.replace('sha256:', ''))
})

/** The part of an in-toto statement that is looked at. */
interface Statement {
  predicateType: string
  subject: { digest: { sha256: string } }[]
}

async function predicate(server: TestServer, token: string, repo: string, digest: string) {
  const manifest = await server.api(`/v2/${repo}/manifests/${digest}`, token, {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  })
  const { layers } = (await manifest.json()) as { layers: { digest: string }[] }
  const blob = await server.api(`/v2/${repo}/blobs/${layers[0]?.digest}`, token)
  return (await blob.json()) as Statement
}
