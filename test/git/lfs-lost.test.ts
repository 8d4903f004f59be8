// Git LFS objects that the storage has lost or that were changed in it: said plainly, built by nobody, sent again.
import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { CONTENT, givenLfsClient, OID } from '../helpers/git-lfs.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { sourceFiles } from '../helpers/sources.ts'

const OTHER = `W${CONTENT.slice(1)}`

for (const [what, harm] of [
  ['is gone from', (file: string) => rm(file)],
  ['was changed in', (file: string) => writeFile(file, OTHER)],
] as const) {
  test(`an object that ${what} the storage is named, asked for again by git lfs push, and built`, async (t) => {
    const server = await givenGitServer(t)
    server.endAll()
    const repo = await givenLfsClient(t, server)
    await repo.git('lfs', 'push', '--all', 'hypeman')
    await harm(join(server.root, `objects/lfs/sources/${OID}.tar`))

    const refused = await repo.push('hypeman', 'main')
    assert.match(
      refused.text,
      new RegExp(`error: model\\.bin is kept by git-lfs, and its object ${OID} was lost by`),
    )
    assert.match(refused.text, /hint: git lfs push --all hypeman, then try again/)
    assert.deepEqual(await server.builds(), [])

    await repo.git('lfs', 'push', '--all', 'hypeman')
    await repo.commit('again')
    const { text } = await repo.push('hypeman', 'main')
    assert.match(text, /success/)
    const [build] = await server.builds()
    assert.equal((await sourceFiles(server.root, build!))['model.bin'], CONTENT)
    assert.deepEqual(await server.db('lfs_objects').whereNotNull('lost_at'), [])
  })
}

test('a download of an object that was changed in the storage is cut off before its end', async (t) => {
  const server = await givenGitServer(t)
  const repo = await givenLfsClient(t, server)
  await repo.git('lfs', 'push', '--all', 'hypeman')
  await writeFile(join(server.root, `objects/lfs/sources/${OID}.tar`), OTHER)
  const authorization = `Bearer ${await server.token()}`
  const url = `${server.url}/web.git/info/lfs/objects/${OID}`
  const whole = fetch(url, { headers: { authorization } }).then((reply) => reply.text())
  await assert.rejects(whole, /terminated|other side closed|fetch failed/)
})

test('an object that was lost may be sent again when the app has no room for another', async (t) => {
  const appBytesMax = CONTENT.length
  const server = await givenGitServer(t, { lfsLimits: { appBytesMax } })
  const repo = await givenLfsClient(t, server)
  await repo.git('lfs', 'push', '--all', 'hypeman')
  await rm(join(server.root, `objects/lfs/sources/${OID}.tar`))
  await repo.push('-o', 'detach', 'hypeman', 'main')
  assert.deepEqual(await server.objectFiles(), [])
  await repo.git('lfs', 'push', '--all', 'hypeman')
  assert.deepEqual(await server.objectFiles(), [`${OID}.tar`])
})
