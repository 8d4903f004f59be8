// Secrets of a pushed build on real parts: they reach the step that mounts them, and nothing else.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { execa } from 'execa'
import { followEvents, givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

async function givenFolder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-secrets-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** Every layer unpacked, every document of an image, as one buffer. */
async function imageBytes(t: TestContext, source: string, creds: string): Promise<Buffer> {
  const layout = await givenFolder(t)
  await skopeo('copy', '--src-tls-verify=false', '--src-creds', creds, source, `dir:${layout}`)
  const files = (await readdir(layout)).map((name) => readFile(join(layout, name)))
  const isGzip = (bytes: Buffer) => bytes[0] === 0x1f && bytes[1] === 0x8b
  return Buffer.concat((await Promise.all(files)).map((b) => (isGzip(b) ? gunzipSync(b) : b)))
}

for (const runner of new Set(['qemu', await fastestRunner()])) {
  test(`weakness 8: a build pushed to ${runner} gets its secrets, and they are nowhere else`, async (t) => {
    const value = `tok/${randomBytes(18).toString('base64')}`
    const body = Array.from({ length: 5 }, () => randomBytes(48).toString('base64'))
    const pem = `-----BEGIN TEST KEY-----\n${body.join('\n')}\n-----END TEST KEY-----\n`
    const folder = await givenFolder(t)
    await mkdir(join(folder, 'ada'))
    await mkdir(join(folder, 'shared'))
    await writeFile(join(folder, 'ada/tok'), 'the app has its own')
    await writeFile(join(folder, 'shared/key.pem'), pem)
    const server = await givenServer(t, { BUILD_SECRETS_DIR: folder, RUNNER: runner })
    const token = await server.token('ada')
    await givenSettings(server, token, 'vault', {
      secrets: [{ id: 'tok', env_var: 'TOK' }, { id: 'key.pem' }, { id: 'extra', optional: true }],
    })
    const put = await server.api('/apps/vault/secrets/tok', token, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value }),
    })
    assert.equal(put.status, 201)
    const repo = await givenApp(t, server, token, 'vault', 'secrets')

    const push = await repo.push('hypeman', 'main')

    const build = await server.build(push.buildId!, token)
    assert.equal(build.status, 'ready', push.text)
    // The run that exports has no secrets, and needs none.
    assert.equal(build.provenance?.cache?.exported, 'cache/ada/vault', push.text)
    assert.match(push.text, /Secrets: tok \(also TOK\), key\.pem, extra \(optional, not set\)/)
    const sum = createHash('sha256').update(value).digest('hex')
    assert.match(push.text, new RegExp(`sum ${sum}`))
    assert.match(push.text, /^ *same$/m)
    assert.match(push.text, /^ *plain \*\*\*$/m)
    assert.match(push.text, /^ *no extra$/m)

    const utf8 = Buffer.from(value)
    const hidden = [value, utf8.toString('base64'), utf8.toString('hex'), ...body]
    const base64 = Buffer.from(pem).toString('base64').match(/.{76}/g) ?? []
    const kept: Record<string, Buffer | string> = {
      push: push.text,
      events: JSON.stringify(await followEvents(server, build.id, token)),
      build: JSON.stringify(build),
      log: server.logged(),
      image: await imageBytes(t, imageName(server, `builds/${build.id}`), `ada:${token}`),
    }
    for (const table of ['builds', 'build_events', 'apps', 'app_secrets']) {
      kept[table] = JSON.stringify(await server.sql(`select ${table}::text as row from ${table}`))
      assert.ok(kept[table].length > 50, table)
    }
    assert.ok(kept.image!.includes(sum), 'the scan sees what the image holds')
    for (const [where, bytes] of Object.entries(kept)) {
      for (const form of [...hidden, ...base64])
        assert.ok(!bytes.includes(form), `${form} in ${where}`)
    }
    const found = await execa('grep', ['-rlF', '-e', value, '-e', body[2]!, server.dataDir], {
      reject: false,
    })
    assert.deepEqual([found.stdout, found.exitCode], ['', 1])
    const limits = await readFile(`/proc/${server.pid}/limits`, 'utf8')
    assert.match(limits, /^Max core file size +0 +0 /m)

    await t.test('a missing secret fails the next push before a VM is started', async () => {
      const gone = await server.api('/apps/vault', token, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ secrets: [{ id: 'tok' }, { id: 'deploy_key' }] }),
      })
      assert.equal(gone.status, 200)
      await repo.commit('again')
      const second = await repo.push('hypeman', 'main')
      const failed = await server.build(second.buildId!, token)
      assert.equal(failed.failure_class, 'source')
      assert.match(
        failed.error ?? '',
        /^secret deploy_key is not set: PUT \/apps\/vault\/secrets\//,
      )
      assert.match(second.text, /error: build .* failed: secret deploy_key is not set/)
      assert.doesNotMatch(second.text, /Builder (VM|sandbox) ready/)
      assert.equal(failed.phases?.vm_ms, undefined)
    })
  })
}
