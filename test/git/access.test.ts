// Who may do what, and what the terminal says when they may not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenGitServer } from '../helpers/git-server.ts'
import { remoteUrl } from '../helpers/repo.ts'

test('a wrong password is refused, and the terminal says what the password is', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text } = await repo.push(remoteUrl(server.url, 'wrong', '/web.git'), 'main')
  assert.equal(exitCode, 128)
  assert.match(text, /hint: the password is a token of this server/)
  assert.match(text, /Authentication failed/)
})

test('a remote without .git is told how an address ends, not only that it is not found', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  for (const path of ['/web', '/a/b/web.git']) {
    const { exitCode, text } = await repo.push(`${server.url}${path}`, 'main')
    assert.equal(exitCode, 128)
    assert.match(text, /error: no repository has this address/)
    assert.match(text, /hint: an address ends with \/<app>\.git or \/<tenant>\/<app>\.git/)
  }
})

test('all three requests ask for credentials', async (t) => {
  const server = await givenGitServer(t)
  for (const [method, path] of [
    ['GET', '/web.git/info/refs?service=git-receive-pack'],
    ['GET', '/web.git/info/refs?service=git-upload-pack'],
    ['POST', '/web.git/git-receive-pack'],
    ['POST', '/acme/web.git/git-upload-pack'],
  ]) {
    const reply = await fetch(`${server.url}${path}`, { method: method! })
    assert.equal(reply.status, 401, path)
    assert.match(reply.headers.get('www-authenticate') ?? '', /^Basic realm="hypeman"/)
  }
})

test('an app of another tenant is not found, by its name and by its path, even with full rights', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const owner = await server.givenClient(t, 'web')
  await owner.push('hypeman', 'main')
  const stranger = await server.token({ sub: 'eve', tenant: 'other' })
  for (const verb of ['fetch', 'push'] as const) {
    const url = remoteUrl(server.url, stranger, '/acme/web.git')
    const error = await owner.git(verb, url, 'main').then(
      () => assert.fail('was let in'),
      (failure: Error) => failure.message,
    )
    assert.match(error, /not found/)
  }
  const named = remoteUrl(server.url, stranger, '/web.git')
  await assert.rejects(owner.git('fetch', named, 'main'), /not found/)
})

test('the first push makes the app, a fetch does not, and a token without app:write may not', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await assert.rejects(repo.git('fetch', 'hypeman', 'main'), /not found/)
  await assert.rejects(server.app('web'))
  const limited = await server.token({ permissions: ['build:read', 'build:write'] })
  const refused = await repo.push(remoteUrl(server.url, limited, '/web.git'), 'main')
  assert.match(refused.text, /error: missing required scope: app:write/)
  assert.match(refused.text, /hint: there is no app web yet/)
  const { exitCode } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 0)
  const again = await repo
    .commit()
    .then(() => repo.push(remoteUrl(server.url, limited, '/web.git'), 'main'))
  assert.equal(again.exitCode, 0, 'the app is there now')
})

test('a token that may only read can fetch and not push', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const reader = await server.token({ permissions: ['app:read'] })
  const url = remoteUrl(server.url, reader, '/web.git')
  await repo.git('fetch', url, 'main')
  await repo.commit()
  const { exitCode, text } = await repo.push(url, 'main')
  assert.equal(exitCode, 128)
  assert.match(text, /error: missing required scope: build:write/)
})

test('names that no app can have, and old protocols, are refused in plain text', async (t) => {
  const server = await givenGitServer(t)
  const token = await server.token()
  const repo = await server.givenClient(t, 'web')
  const { text } = await repo.push(remoteUrl(server.url, token, '/My_App.git'), 'main')
  assert.match(text, /error: app name "My_App" must be 1 to 63 lower-case letters/)
  const headers = { authorization: `Bearer ${token}` }
  const dumb = await fetch(`${server.url}/web.git/info/refs`, { headers })
  assert.equal(dumb.status, 403)
  assert.match(await dumb.text(), /only smart HTTP is served/)
  const path = `${server.url}/web.git/git-receive-pack`
  assert.equal((await fetch(path, { headers })).status, 405)
  for (const odd of ['/a/b/web.git/git-receive-pack', '/web.git/objects/x']) {
    assert.equal((await fetch(`${server.url}${odd}`, { headers })).status, 404, odd)
  }
})
