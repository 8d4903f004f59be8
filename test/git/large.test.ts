// Large pushes through the whole way: they arrive whole, and the server's memory does not grow with them.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { execa } from 'execa'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'

const MiB = 1024 * 1024
/** Generous: the test's own parts are in it, and nothing makes Node give memory back. */
const GROWTH_MAX = 120 * MiB

/** The most this process, which is the server as well, had while something ran, over what it had before. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  let most = before
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss)
  }, 20)
  try {
    await work()
  } finally {
    clearInterval(watch)
  }
  return most - before
}

async function archivedNames(server: GitServer): Promise<number> {
  const [build] = await server.builds()
  const archive = join(server.root, 'objects', `${build!.sourceKey}.tar`)
  const { stdout } = await execa('sh', ['-c', 'tar -tf "$0" | wc -l', archive])
  return Number(stdout)
}

test('a pack of 100 MB is taken and archived whole, in memory that does not know its size', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.git('config', 'core.compression', '0')
  const file = await open(join(repo.dir, 'noise.bin'), 'w')
  for (let i = 0; i < 100; i += 1) await file.write(randomBytes(MiB))
  await file.close()
  await repo.commit()
  const growth = await growthDuring(async () => {
    const { exitCode, text } = await repo.push('hypeman', 'main')
    assert.equal(exitCode, 0, text)
  })
  t.diagnostic(`grew by ${Math.round(growth / MiB)} MiB`)
  assert.ok(growth < GROWTH_MAX, `grew by ${Math.round(growth / MiB)} MiB`)
  assert.ok((await server.builds())[0]!.sourceBytes > 100 * MiB)
})

test('100,000 files are taken and archived whole, in memory that does not know their number', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const blob = await repo.git('hash-object', '-w', 'Dockerfile')
  const files = Array.from(
    { length: 100_000 },
    (_, i) => `100644 ${blob}\tsrc/${Math.floor(i / 500)}/file-${i}.txt\n`,
  )
  await execa('git', ['update-index', '--index-info'], { cwd: repo.dir, input: files.join('') })
  await repo.git('commit', '--quiet', '-m', 'many files')
  const growth = await growthDuring(async () => {
    const { exitCode, text } = await repo.push('hypeman', 'main')
    assert.equal(exitCode, 0, text)
  })
  t.diagnostic(`grew by ${Math.round(growth / MiB)} MiB`)
  assert.ok(growth < GROWTH_MAX, `grew by ${Math.round(growth / MiB)} MiB`)
  assert.equal(await archivedNames(server), 100_001 + 201)
})
