// Pushes to a disk that is full, or becomes so while a pack comes.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { AppError } from '../../server/errors.ts'
import { givenGitServer } from '../helpers/git-server.ts'

const MiB = 1024 * 1024

/** A disk that is full from the nth look on, counted from 1. */
async function givenFilling(t: TestContext, fullAt: () => number) {
  let looks = 0
  const server = await givenGitServer(t, {
    async requireRoom() {
      looks += 1
      if (looks < fullAt()) return
      throw new AppError('disk_full', 'the build server has 3 MiB of disk left', {
        hint: 'tell its operator; nothing of this was kept',
      })
    },
  })
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.git('config', 'core.compression', '0')
  await writeFile(join(repo.dir, 'noise.bin'), randomBytes(40 * MiB))
  await repo.commit()
  return { server, repo, looks: () => looks }
}

const REFUSED = /^error: the build server has 3 MiB of disk left\s+hint: tell its operator/m

test('a disk that fills up while a pack comes ends the push in a readable way, and nothing of it is kept', async (t) => {
  let fullAt = 4
  const { server, repo, looks } = await givenFilling(t, () => fullAt)
  const refused = await repo.push('hypeman', 'main')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, REFUSED)
  assert.match(refused.text, /! \[remote rejected\] main -> main/)
  assert.equal(looks(), 4)
  const app = await server.app('web')
  assert.equal(await server.repositories.tip(app.id, 'refs/heads/main'), undefined)
  const files = await readdir(server.repositories.path(app.id), { recursive: true })
  assert.deepEqual(
    files.filter((name) => /pack$|tmp_|incoming/.test(name) && name !== 'objects/pack'),
    [],
  )
  assert.deepEqual(await server.builds(), [])

  fullAt = Number.POSITIVE_INFINITY
  const again = await repo.push('hypeman', 'main')
  assert.equal(again.exitCode, 0, again.text)
  assert.equal((await server.builds()).length, 1)
})

test('a disk that is full already takes nothing of a pack', async (t) => {
  const { server, repo, looks } = await givenFilling(t, () => 1)
  const refused = await repo.push('hypeman', 'main')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, REFUSED)
  assert.match(refused.text, /! \[remote rejected\] main -> main \(the server is out of disk\)/)
  assert.equal(looks(), 1)
  assert.deepEqual(await server.builds(), [])
})
