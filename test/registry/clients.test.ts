// skopeo against the real proxy and the real registry: what people do with an image.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { writeLayout } from '../helpers/oci.ts'
import { testParts } from '../helpers/parts.ts'
import {
  buildToken,
  givenProxy,
  givenRegistry,
  member,
  operator,
  registryAdmin,
  type TestProxy,
} from '../helpers/registry.ts'

let skopeo = ''
before(async () => {
  skopeo = (await testParts()).skopeo
})

interface House extends TestProxy {
  layout: string
  run(args: string[]): Promise<{ exitCode?: number | undefined; stdout: string; stderr: string }>
}

async function givenHouse(t: TestContext): Promise<House> {
  const { dir, upstream } = await givenRegistry(t)
  const proxy = await givenProxy(t, upstream)
  const layout = join(dir, 'layout')
  await writeLayout(layout)
  // An own auth file, so that a login stays in this test.
  const env = { REGISTRY_AUTH_FILE: join(dir, `auth-${randomBytes(3).toString('hex')}.json`) }
  const run = (args: string[]) =>
    execa(skopeo, ['--insecure-policy', ...args], { env, reject: false })
  return { ...proxy, layout, run }
}

const push = (house: House, repo: string, creds: string) =>
  house.run([
    'copy',
    '--dest-tls-verify=false',
    '--dest-creds',
    creds,
    `oci:${house.layout}:latest`,
    `docker://${house.host}/${repo}:latest`,
  ])

const inspect = (house: House, repo: string, ...options: string[]) =>
  house.run(['inspect', '--tls-verify=false', ...options, `docker://${house.host}/${repo}:latest`])

test('an operator pushes a base image, a user logs in with the API token and pulls it', async (t) => {
  const house = await givenHouse(t)
  const pushed = await push(house, 'library/hello', `op:${await operator()}`)
  assert.equal(pushed.exitCode, 0, pushed.stderr)

  const anonymous = await inspect(house, 'library/hello')
  assert.notEqual(anonymous.exitCode, 0)
  assert.match(anonymous.stderr, /unauthorized|authentication required/i)

  const login = await house.run([
    'login',
    '--tls-verify=false',
    '-u',
    'ada',
    '-p',
    await member(),
    house.host,
  ])
  assert.equal(login.exitCode, 0, login.stderr)
  const pulled = await inspect(house, 'library/hello')
  assert.equal(pulled.exitCode, 0, pulled.stderr)
  assert.match(JSON.parse(pulled.stdout).Digest, /^sha256:[0-9a-f]{64}$/)
})

test('a user who is no operator pushes no base image', async (t) => {
  const house = await givenHouse(t)
  const pushed = await push(house, 'library/hello', `ada:${await member()}`)
  assert.notEqual(pushed.exitCode, 0)
  assert.match(pushed.stderr, /unauthorized|denied|not allowed/i)
})

test('a build pushes its repository; its tenant pulls the image, another tenant does not', async (t) => {
  const house = await givenHouse(t)
  const pushed = await push(house, 'builds/acme1', `build:${await buildToken('acme1')}`)
  assert.equal(pushed.exitCode, 0, pushed.stderr)

  const own = await inspect(house, 'builds/acme1', '--creds', `ada:${await member('acme')}`)
  assert.equal(own.exitCode, 0, own.stderr)
  const asUser = await inspect(house, 'builds/acme1', '--registry-token', await member('acme'))
  assert.equal(asUser.exitCode, 0, asUser.stderr)
  const foreign = await inspect(house, 'builds/acme1', '--creds', `eve:${await member('other')}`)
  assert.notEqual(foreign.exitCode, 0)
  assert.match(foreign.stderr, /unauthorized|denied|not allowed/i)
})

test('a wrong password is refused at login', async (t) => {
  const house = await givenHouse(t)
  const login = await house.run([
    'login',
    '--tls-verify=false',
    '-u',
    'ada',
    '-p',
    'wrong',
    house.host,
  ])
  assert.notEqual(login.exitCode, 0)
  assert.match(login.stderr, /invalid username\/password|unauthorized/i)
})

test('an operator’s push token pushes anywhere and deletes what was pushed', async (t) => {
  const house = await givenHouse(t)
  const creds = `operator:${await registryAdmin()}`
  const pushed = await push(house, 'apps/acme/web', creds)
  assert.equal(pushed.exitCode, 0, pushed.stderr)
  const remove = (given: string) =>
    house.run([
      'delete',
      '--tls-verify=false',
      '--creds',
      given,
      `docker://${house.host}/apps/acme/web:latest`,
    ])
  assert.notEqual((await remove(`eve:${await member('other')}`)).exitCode, 0)
  const removed = await remove(creds)
  assert.equal(removed.exitCode, 0, removed.stderr)
  assert.notEqual((await inspect(house, 'apps/acme/web', '--creds', creds)).exitCode, 0)
})

test('a copy within the registry mounts, and tags are listed', async (t) => {
  const house = await givenHouse(t)
  const creds = `op:${await registryAdmin()}`
  assert.equal((await push(house, 'library/hello', creds)).exitCode, 0)
  const from = ['--src-tls-verify=false', '--src-creds', creds, '--dest-tls-verify=false']
  const copied = await house.run([
    '--debug',
    'copy',
    ...from,
    '--dest-creds',
    creds,
    `docker://${house.host}/library/hello:latest`,
    `docker://${house.host}/library/other:v1`,
  ])
  assert.equal(copied.exitCode, 0, copied.stderr)
  assert.match(copied.stderr, /mount OK|Trying to mount|Skipping blob .* already present/)
  const listed = await house.run([
    'list-tags',
    '--tls-verify=false',
    '--creds',
    creds,
    `docker://${house.host}/library/other`,
  ])
  assert.deepEqual(JSON.parse(listed.stdout).Tags, ['v1'])
})

test('who logs in with a token that has ended is told so', async (t) => {
  const house = await givenHouse(t)
  const basic = Buffer.from('ada:ended').toString('base64')
  const message = async (headers: Record<string, string>) =>
    (await fetch(`${house.url}/v2/token`, { headers })).text()
  assert.match(
    await message({ authorization: `Basic ${basic}` }),
    /may have expired or been revoked/,
  )
  assert.match(await message({}), /the API token goes into the password/)
})
