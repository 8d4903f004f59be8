// Pushes that git itself refuses: too big, broken, incomplete. What the person reads, and that nothing stays.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { deflateSync } from 'node:zlib'
import { FLUSH, pkt, ZERO_OID } from '../../server/git/pkt-line.ts'
import { type GitServer, type GitServerOptions, givenGitServer } from '../helpers/git-server.ts'
import { post, pushBody } from '../helpers/git-wire.ts'

async function givenTarget(t: TestContext, options: GitServerOptions = {}) {
  const server = await givenGitServer(t, options)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { exitCode } = await repo.push('hypeman', 'main:refs/tags/first')
  assert.equal(exitCode, 0)
  return { server, repo, url: `${server.url}/web.git/git-receive-pack` }
}

async function send(server: GitServer, url: string, body: Buffer) {
  const { req, reply } = post(url, await server.token())
  req.end(body)
  return (await reply).text
}

/** The push has left nothing: no ref, no object beside those of before, no folder of git's. */
async function assertNothingKept(server: GitServer, objectsBefore: string[]): Promise<void> {
  const { id } = await server.app('web')
  assert.equal(await server.repositories.tip(id, 'refs/heads/main'), undefined)
  assert.deepEqual(await objectsOf(server), objectsBefore)
  assert.deepEqual(await server.builds(), [])
  assert.deepEqual(await server.objectFiles(), [])
}

async function objectsOf(server: GitServer): Promise<string[]> {
  const path = server.repositories.path((await server.app('web')).id)
  const found = await readdir(join(path, 'objects'), { recursive: true })
  return found.sort()
}

/** A pack of whole objects, as bytes. */
function packOf(objects: { type: 1 | 2 | 3; body: Buffer }[]): Buffer {
  const head = Buffer.alloc(12)
  head.write('PACK')
  head.writeUInt32BE(2, 4)
  head.writeUInt32BE(objects.length, 8)
  const entries = objects.map(({ type, body }) => {
    const bytes: number[] = []
    let size = body.length >> 4
    let byte = (type << 4) | (body.length & 15)
    while (size > 0) {
      bytes.push(byte | 0x80)
      byte = size & 0x7f
      size >>= 7
    }
    return Buffer.concat([Buffer.from([...bytes, byte]), deflateSync(body)])
  })
  const content = Buffer.concat([head, ...entries])
  return Buffer.concat([content, createHash('sha1').update(content).digest()])
}

const NAMES = { 1: 'commit', 2: 'tree', 3: 'blob' } as const
function oidOf(type: 1 | 2 | 3, body: Buffer): string {
  return createHash('sha1').update(`${NAMES[type]} ${body.length}\0`).update(body).digest('hex')
}

function commitOf(tree: string, parent?: string): Buffer {
  const who = 'Ada <ada@example.invalid> 1700000000 +0000'
  const above = parent === undefined ? '' : `parent ${parent}\n`
  return Buffer.from(`tree ${tree}\n${above}author ${who}\ncommitter ${who}\n\nbroken\n`)
}

function treeOf(entries: [string, string, string][]): Buffer {
  const bytes = entries.map(([mode, name, oid]) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')]),
  )
  return Buffer.concat(bytes)
}

function creation(commit: string, shallow?: string): Buffer {
  const lines = shallow === undefined ? [] : [pkt(`shallow ${shallow}`)]
  const command = `${ZERO_OID} ${commit} refs/heads/main\0 report-status side-band-64k`
  return Buffer.concat([...lines, pkt(command), FLUSH])
}

test('a pack over the limit is refused with the limit in the terminal, and nothing is kept', async (t) => {
  const { server, repo } = await givenTarget(t, { packBytesMax: 200_000 })
  const before = await objectsOf(server)
  const noise = Array.from({ length: 40_000 }, () => Math.random().toString(36).slice(2))
  await repo.write('noise', noise.join(''))
  await repo.commit()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 1)
  assert.match(text, /^error: the pack is over the limit of 200000 bytes, so nothing of it is kept/)
  assert.match(text, /fatal: pack exceeds maximum allowed size/)
  assert.match(text, /! \[remote rejected\] main -> main \(unpacker error\)/)
  await assertNothingKept(server, before)
})

test('a pack with a flipped bit is refused, and nothing of it is kept', async (t) => {
  const { server, repo, url } = await givenTarget(t)
  const before = await objectsOf(server)
  await repo.write('more', 'something to flip '.repeat(50))
  await repo.commit()
  const { commands, pack } = await pushBody(repo)
  const flipped = Buffer.from(pack)
  flipped[Math.floor(flipped.length / 2)]! ^= 0x10
  const text = await send(server, url, Buffer.concat([commands, flipped]))
  assert.match(text, /inflate|pack|corrupt|SHA1/i)
  assert.match(text, /unpack (unpack-objects|index-pack) abnormal exit/)
  assert.match(text, /ng refs\/heads\/main unpacker error/)
  await assertNothingKept(server, before)
})

test('a tree that no git would write is refused with its name and what is wrong with it', async (t) => {
  const { server, url } = await givenTarget(t)
  const before = await objectsOf(server)
  const blob = Buffer.from('FROM scratch\n')
  const file = oidOf(3, blob)
  const cases: [[string, string, string][], RegExp][] = [
    [
      [
        ['100644', 'b', file],
        ['100644', 'a', file],
      ],
      /treeNotSorted: not properly sorted/,
    ],
    [
      [
        ['100644', 'a', file],
        ['100644', 'a', file],
      ],
      /duplicateEntries/,
    ],
    [[['40000', '.git', oidOf(2, Buffer.alloc(0))]], /hasDotgit/],
    [[['100644', 'a/../../b', file]], /fullPathname/],
  ]
  for (const [entries, complaint] of cases) {
    const tree = treeOf(entries)
    const commit = commitOf(oidOf(2, tree))
    const pack = packOf([
      { type: 3, body: blob },
      { type: 2, body: Buffer.alloc(0) },
      { type: 2, body: tree },
      { type: 1, body: commit },
    ])
    const text = await send(server, url, Buffer.concat([creation(oidOf(1, commit)), pack]))
    assert.match(text, new RegExp(`object ${oidOf(2, tree)}: ${complaint.source}`))
    assert.match(text, /ng refs\/heads\/main unpacker error/)
  }
  await assertNothingKept(server, before)
})

test('a commit whose tree or file did not come is refused, from a shallow client too', async (t) => {
  const { server, url } = await givenTarget(t)
  const before = await objectsOf(server)
  const missing = oidOf(3, Buffer.from('never sent'))
  const tree = treeOf([['100644', 'Dockerfile', missing]])
  const orphan = commitOf(oidOf(2, tree))
  const child = commitOf(oidOf(2, tree), 'a'.repeat(40))
  for (const [commit, shallow] of [
    [orphan, undefined],
    [child, oidOf(1, child)],
  ] as const) {
    const pack = packOf([
      { type: 2, body: tree },
      { type: 1, body: commit },
    ])
    const head = creation(oidOf(1, commit), shallow)
    const text = await send(server, url, Buffer.concat([head, pack]))
    assert.match(text, /ng refs\/heads\/main (missing necessary objects|unpacker error)/)
  }
  await assertNothingKept(server, before)
})

test('what a shallow client pushes is archived whole, and its history ends where the client’s does', async (t) => {
  const { server, repo } = await givenTarget(t)
  await repo.write('second.txt', '2')
  await repo.commit('second')
  await repo.write('third.txt', '3')
  await repo.commit('third')
  const shallow = await server.givenClient(t, 'fresh')
  await shallow.git('fetch', '--quiet', '--depth=1', `file://${repo.dir}`, 'main')
  const { exitCode, text } = await shallow.push('hypeman', 'FETCH_HEAD:refs/heads/main')
  assert.equal(exitCode, 0, text)
  const { id } = await server.app('fresh')
  const path = server.repositories.path(id)
  assert.equal(await server.git.run(['-C', path, 'rev-list', '--count', 'refs/heads/main']), '1')
  const files = await server.git.run(['-C', path, 'ls-tree', '--name-only', 'refs/heads/main'])
  assert.deepEqual(files.split('\n'), ['Dockerfile', 'second.txt', 'third.txt'])
  await repo.commit('fourth')
  const url = await shallow.git('remote', 'get-url', 'hypeman')
  const whole = await repo.push(url, 'main')
  assert.equal(whole.exitCode, 0, whole.text)
  const count = (await server.builds()).filter(({ app }) => app === 'fresh').length
  assert.equal(count, 2, 'a whole clone pushes on top of it')
})
