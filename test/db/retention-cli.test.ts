// `npm run -s retention` against a listening server.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { readConfig } from '../../server/config.ts'
import { runRetentionCommand } from '../../server/retention/cli.ts'
import { givenApi } from '../helpers/api.ts'
import { givenEnded, KEEP_ALL } from '../helpers/retention.ts'

async function givenServer(t: TestContext) {
  const { db, url } = await givenApi(t, { retention: { ...KEEP_ALL, buildDays: 400 } })
  const config = readConfig({
    JWT_SECRET: 'a secret of the tests, long enough to be one',
    HOST: '0.0.0.0',
    PORT: new URL(url).port,
  })
  const said = async (...args: string[]) => {
    let text = ''
    await runRetentionCommand(args, config, (more) => {
      text += more
    })
    return text
  }
  return { db, config, said }
}

test('it says what would go, and what went', async (t) => {
  const { db, said } = await givenServer(t)
  await givenEnded(db, { id: 'isancient', days: 401, status: 'failed' })
  const shown = 'build  isancient (ended over 400 days ago)'
  const builders = 'disks of builders: 0, 0 B\n'
  assert.equal(await said('--dry-run'), `${shown}\nwould delete: 1 build\n${builders}`)
  assert.equal(await said(), `${shown}\ndeleted: 1 build\n${builders}`)
  assert.equal(JSON.parse(await said('--json')).totals.build.count, 0)
  assert.deepEqual(await db('builds'), [])
})

test('without a server it says where it looked', async (t) => {
  const { config } = await givenServer(t)
  await assert.rejects(
    runRetentionCommand([], { ...config, port: 1 }),
    /http:\/\/127\.0\.0\.1:1\/admin\/retention\S+ does not answer: .*Is the server running there/,
  )
  await assert.rejects(runRetentionCommand(['--what'], config), /Unknown option '--what'/)
})
