// The data folder as it is made at start.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { makeFolders } from '../../server/data-dir.ts'

async function givenFolder(t: TestContext, mode: number) {
  const folder = await mkdtemp(join(tmpdir(), 'hm-data-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await chmod(folder, mode)
  const dataDir = join(folder, 'data')
  return { dataDir, run: join(dataDir, 'run') }
}

test('a data folder below a closed one is refused by name, not by what initdb says', async (t) => {
  const paths = await givenFolder(t, 0o700)
  const made = makeFolders(paths, { hasOtherUsers: true })
  await assert.rejects(made, { message: new RegExp(`^DATA_DIR=${paths.dataDir} lies below`) })
})

test('who runs everything as one user may keep it closed', async (t) => {
  const paths = await givenFolder(t, 0o700)
  await makeFolders(paths, { hasOtherUsers: false })
  assert.equal((await stat(paths.run)).mode & 0o777, 0o711)
})

test('below an open folder it is made so that the other users can walk in', async (t) => {
  const paths = await givenFolder(t, 0o755)
  await makeFolders(paths, { hasOtherUsers: true })
  assert.equal((await stat(paths.dataDir)).mode & 0o777, 0o711)
})
