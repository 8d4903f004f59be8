// POST /builds with `app`: a hosted commit is built again, as the app builds, changed by the fields given.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { toBuild } from '../../server/builds/store.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { bodyOf } from '../helpers/http.ts'
import { post } from '../helpers/sources.ts'

type Fields = [string, string][]

async function submit(server: GitServer, fields: Fields, request = {}) {
  const authorization = `Bearer ${await server.token(request)}`
  const init = { ...post(...fields), headers: { authorization } }
  return fetch(`${server.url}/builds`, init)
}

async function built(server: GitServer, ...fields: Fields) {
  const reply = await submit(server, fields)
  const body = await bodyOf(reply)
  assert.equal(reply.status, 202, JSON.stringify(body))
  return toBuild(await server.db('builds').where({ id: body.id }).first())
}

/** An app with one build of main that has ended, and a second commit pushed over it. */
async function givenPushed(t: TestContext) {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const first = await repo.git('rev-parse', 'HEAD')
  await repo.write('more', 'x')
  const second = await repo.commit()
  await repo.git('tag', '-a', 'v1', '-m', 'v1', first)
  await repo.push('hypeman', 'main', 'v1')
  return { server, repo, first, second }
}

test('a commit is built again by branch, tag, or hash, with the app’s settings below the fields', async (t) => {
  const { server, repo, first, second } = await givenPushed(t)
  const settings = {
    build_args: { A: '1' },
    target: 'final',
    policy: { cpus: 4, memory_mb: 1024 },
    builder: 'off',
  }
  await server.db('apps').update({ settings: JSON.stringify(settings) })
  const [pushed] = (await server.builds()).filter(({ commit }) => commit === first)

  const byBranch = await built(server, ['app', 'web'], ['ref', 'main'])
  assert.deepEqual([byBranch.ref, byBranch.commit], ['refs/heads/main', second])
  assert.deepEqual([byBranch.app, byBranch.tenant, byBranch.pusher], ['web', 'acme', 'ada'])
  assert.equal(byBranch.appId, pushed!.appId)
  assert.deepEqual(byBranch.request, {
    dockerfile_path: 'Dockerfile',
    source_date_epoch: Number(await repo.git('log', '-1', '--format=%ct', second)),
    target: 'final',
    build_args: { A: '1' },
    build_policy: { cpus: 4, memory_mb: 1024 },
    cache_scope: 'web',
  })

  const byTag = await built(
    server,
    ['app', 'web'],
    ['ref', 'v1'],
    ['target', 'other'],
    ['cpus', '1'],
  )
  assert.deepEqual([byTag.ref, byTag.commit], ['refs/tags/v1', first])
  assert.equal(byTag.request.target, 'other')
  assert.deepEqual(byTag.request.build_policy, { cpus: 1, memory_mb: 1024 })
  assert.deepEqual([byTag.sourceKey, byTag.sourceHash], [pushed!.sourceKey, pushed!.sourceHash])

  const byHash = await built(server, ['app', 'web'], ['commit', first.slice(0, 10)])
  assert.deepEqual([byHash.ref, byHash.commit], [undefined, first])
  const both = await built(server, ['app', 'web'], ['commit', first], ['ref', 'refs/heads/main'])
  assert.deepEqual([both.ref, both.commit], ['refs/heads/main', first])
})

test('what names no commit of the caller’s app is refused, and leaves nothing', async (t) => {
  const { server, repo, first } = await givenPushed(t)
  await repo.git('checkout', '-q', '--orphan', 'lost')
  const lost = await repo.commit('never pushed')
  const before = [(await server.builds()).length, await server.objectFiles()]
  const web: Fields[number] = ['app', 'web']
  const cases: [Fields, number, string, RegExp][] = [
    [[web], 400, 'invalid_request', /app needs ref or commit/],
    [[web, ['ref', 'main..x']], 400, 'invalid_request', /must be the name of a branch or tag/],
    [[web, ['ref', '--help']], 400, 'invalid_request', /must be the name of a branch or tag/],
    [[web, ['ref', 'nope']], 404, 'not_found', /^ref nope of the app web not found$/],
    [[web, ['commit', 'f'.repeat(40)]], 404, 'not_found', /is not in any branch or tag/],
    [[web, ['commit', lost]], 404, 'not_found', /is not in any branch or tag of the app web/],
    [[web, ['commit', 'HEAD']], 400, 'invalid_request', /7 to 40 hexadecimal digits/],
    [
      [
        ['app', 'other'],
        ['ref', 'main'],
      ],
      404,
      'not_found',
      /^app not found$/,
    ],
    [[['ref', 'main']], 400, 'invalid_request', /ref needs app or repo_url/],
    [[['commit', first]], 400, 'invalid_request', /commit needs app/],
    [
      [web, ['ref', 'main'], ['dockerfile_path', 'nope']],
      400,
      'dockerfile_required',
      /^dockerfile/,
    ],
    [
      [web, ['ref', 'main'], ['source_hash', 'a'.repeat(64)]],
      400,
      'invalid_request',
      /needs source/,
    ],
    [[web, ['ref', 'main'], ['cpus', '9']], 400, 'invalid_request', /cpus exceeds maximum of 8/],
  ]
  for (const [fields, status, code, message] of cases) {
    const reply = await submit(server, fields)
    const error = await bodyOf(reply)
    assert.deepEqual([reply.status, error.code], [status, code], JSON.stringify(error))
    assert.match(error.message, message)
    if (code === 'dockerfile_required') assert.match(error.details[0].message, /has no nope/)
  }
  const foreign = await submit(server, [web, ['ref', 'main']], { tenant: 'other' })
  assert.equal(foreign.status, 404)
  const narrow = await submit(server, [web, ['ref', 'main']], { permissions: ['build:write'] })
  assert.equal(narrow.status, 403)
  assert.match((await bodyOf(narrow)).message, /app:read/)
  assert.deepEqual([(await server.builds()).length, await server.objectFiles()], before)
})

test('a Dockerfile given builds a commit that has none', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await repo.git('rm', '-q', 'Dockerfile')
  await repo.write('index.js', 'x')
  await repo.commit()
  await repo.push('hypeman', 'main')
  assert.deepEqual(await server.builds(), [])
  const build = await built(server, ['app', 'web'], ['ref', 'main'], ['dockerfile', 'FROM scratch'])
  assert.equal(build.request.dockerfile, 'FROM scratch')
})

test('repo_url with the address of a hosted app builds that app; whose it is not gets 404', async (t) => {
  const { server, first, second } = await givenPushed(t)
  const builtAs = async (...fields: Fields) => {
    const build = await built(server, ...fields)
    assert.equal(build.app, 'web')
    assert.equal(build.request.repo_url, undefined)
    return [build.ref, build.commit]
  }
  const own = (path: string): Fields[number] => ['repo_url', `${server.url}${path}`]
  assert.deepEqual(await builtAs(own('/web.git')), ['refs/heads/main', second])
  assert.deepEqual(await builtAs(own('/acme/web.git'), ['ref', 'HEAD']), [
    'refs/heads/main',
    second,
  ])
  assert.deepEqual(await builtAs(own('/acme/web'), ['ref', 'v1']), ['refs/tags/v1', first])
  assert.deepEqual(await builtAs(own('/web/'), ['ref', first]), [undefined, first])
  const refused: [Fields, number][] = [
    [[own('/other/web.git')], 404],
    [[own('/nope.git')], 404],
    [[own('/v2/x/y')], 404],
    [[own('/')], 404],
    [[own('/web.git'), ['ref', 'nope']], 404],
    [[own('/web.git'), ['repo_secret', 'x']], 400],
  ]
  for (const [fields, status] of refused) {
    assert.equal((await submit(server, fields)).status, status, JSON.stringify(fields))
  }
})
