import assert from 'node:assert/strict'
import {
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isReachable, stageFile, stageTree } from '../../../server/setup/stage.ts'

async function givenFolder(t: TestContext, parent = tmpdir()): Promise<string> {
  const folder = await mkdtemp(join(parent, 'hm-stage-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function givenProgram(folder: string, text: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'program')
  await writeFile(path, text)
  await chmod(path, 0o700)
  return path
}

test('a staged program can be read and executed by everybody, and a second call changes nothing', async (t) => {
  const folder = await givenFolder(t)
  const source = await givenProgram(join(folder, 'closed'), 'one')
  const target = await stageFile(source, join(folder, 'open/program'))
  const first = await stat(target)
  assert.equal(first.mode & 0o777, 0o755)
  assert.equal(first.ino, (await stat(source)).ino)
  await stageFile(source, target)
  assert.equal((await stat(target)).ctimeMs, first.ctimeMs)
})

test('a source that was replaced replaces what was staged', async (t) => {
  const folder = await givenFolder(t)
  const source = await givenProgram(join(folder, 'closed'), 'one')
  const target = await stageFile(source, join(folder, 'open/program'))
  await rm(source)
  await givenProgram(join(folder, 'closed'), 'two')
  await stageFile(source, target)
  assert.equal(await readFile(target, 'utf8'), 'two')
})

test('on another file system a copy is staged, once', async (t) => {
  const source = await givenProgram(await givenFolder(t, '/dev/shm'), 'one')
  const target = await stageFile(source, join(await givenFolder(t), 'program'))
  const first = await stat(target)
  assert.notEqual(first.dev, (await stat(source)).dev)
  await stageFile(source, target)
  assert.equal((await stat(target)).ctimeMs, first.ctimeMs)
})

test('two stagings of one file at once leave the source whole', async (t) => {
  const folder = await givenFolder(t)
  const source = await givenProgram(join(folder, 'closed'), 'whole')
  const target = join(folder, 'open/program')
  await mkdir(join(folder, 'open'))
  await Promise.all([1, 2, 3, 4].map(() => stageFile(source, target)))
  assert.equal(await readFile(source, 'utf8'), 'whole')
  assert.equal(await readFile(target, 'utf8'), 'whole')
})

test('a tree keeps its folders and symbolic links', async (t) => {
  const folder = await givenFolder(t)
  await givenProgram(join(folder, 'closed/bin'), 'one')
  await symlink('bin/program', join(folder, 'closed/link'))
  const target = await stageTree(join(folder, 'closed'), join(folder, 'open'))
  assert.equal(await readFile(join(target, 'bin/program'), 'utf8'), 'one')
  assert.equal(await readlink(join(target, 'link')), 'bin/program')
})

test('a path below a folder that others may not walk is not reachable', async (t) => {
  const folder = await givenFolder(t) // 0700
  assert.equal(await isReachable(join(folder, 'file')), false)
  await chmod(folder, 0o711)
  assert.equal(await isReachable(join(folder, 'file')), true)
})
