// What an image has in it, as BuildKit lets a scanner image find out; the scanner here is a shell script that speaks
// the same protocol as the real one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { execa } from 'execa'
import { givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { testParts } from '../helpers/parts.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer, type TestServer } from '../helpers/server.ts'

const SCANNER = 'library/buildkit-syft-scanner:stable-1'
const SCRIPT = `#!/bin/sh
set -e
name=$(basename "$BUILDKIT_SCAN_SOURCE")
files=$(cd "$BUILDKIT_SCAN_SOURCE" && find . -type f | sed 's/.*/{"fileName":"&"},/')
echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document",
  "predicate":{"spdxVersion":"SPDX-2.3","files":['"$files"'{}]}}' >"$BUILDKIT_SCAN_DESTINATION/$name.spdx.json"
`

interface Layers {
  layers: { digest: string; annotations: Record<string, string> }[]
}

/** What is attested of a build, by type. */
async function attested(server: TestServer, token: string, id: string) {
  const repo = `builds/${id}`
  const get = async (path: string) => (await server.api(`/v2/${repo}/${path}`, token)).json()
  const auth = ['--tls-verify=false', '--creds', `ada:${token}`]
  const raw = await skopeo('inspect', ...auth, '--raw', imageName(server, `${repo}:attested`))
  const { manifests } = JSON.parse(raw) as { manifests: { digest: string }[] }
  const reply = await server.api(`/v2/${repo}/manifests/${manifests[1]!.digest}`, token, {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  })
  const { layers } = (await reply.json()) as Layers
  const found = layers.map(async ({ digest, annotations }) => [
    annotations['in-toto.io/predicate-type'],
    await get(`blobs/${digest}`),
  ])
  return Object.fromEntries(await Promise.all(found))
}

test('attestations.sbom has the files of the image attested beside it, also in an isolated build', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada', { tenant: 'acme' })
  await givenSettings(server, token, 'hello', {
    attestations: { provenance: 'min', sbom: true },
    policy: { network_mode: 'isolated' },
  })
  const repo = await givenApp(t, server, token, 'hello', 'hello')

  const without = await repo.push('hypeman', 'main')
  const failed = await server.build(without.buildId!, token)
  assert.equal(failed.status, 'failed', without.text)
  assert.match(failed.error ?? '', /library\/buildkit-syft-scanner:stable-1/)

  const admin = await server.token('root', { tenant: 'ops', admin: true })
  const { skopeo: command } = await testParts()
  const scanner = await givenBusyboxImage(t, SCRIPT)
  const auth = ['--dest-tls-verify=false', '--dest-creds', `root:${admin}`]
  await execa(command, ['copy', ...auth, `oci:${scanner}`, imageName(server, SCANNER)])
  await repo.commit('with a scanner')
  const push = await repo.push('hypeman', 'main')
  const build = await server.build(push.buildId!, token)
  assert.equal(build.status, 'ready', push.text)

  const found = await attested(server, token, build.id)
  assert.deepEqual(Object.keys(found).sort(), [
    'https://slsa.dev/provenance/v1',
    'https://spdx.dev/Document',
  ])
  const { subject, predicate } = found['https://spdx.dev/Document']
  assert.equal(subject[0].digest.sha256, build.image_digest?.replace('sha256:', ''))
  const names = predicate.files.map(({ fileName }: { fileName?: string }) => fileName)
  for (const name of ['./bin/busybox', './hello.sh']) assert.ok(names.includes(name), name)
})
