// What every git client gets, on a real server with real hooks: the same sentences for each of them.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type GatedServer, givenGatedServer } from './gate.ts'
import type { ClientPush, GitClient } from './git-clients.ts'

const STEP = { n: 5, name: '[4/7] RUN make' }
const FAILURE = {
  failure_class: 'build',
  error: 'step 5 ([4/7] RUN make) failed with exit code 1',
}
/** git sends its text in pieces of 128 bytes, wherever a character is cut by that. */
const WIDE = `Grüße ${'世界'.repeat(100)}`
const MAIN = 'refs/heads/main:refs/heads/main'

interface Given extends GatedServer {
  push(refspec: string, ...options: string[]): ClientPush
  pushAs(password: string): ClientPush
  /** The id of the build whose beginning the client has shown. */
  shownBuild(push: ClientPush): Promise<string>
}

/** An app that is not gated, with a first commit on nobody's branch yet. */
async function givenApp(t: TestContext, client: GitClient): Promise<Given> {
  const given = await givenGatedServer(t, { gate: false })
  const { server, repo } = given
  const token = await server.token()
  const url = `${server.url}/web.git`
  const pushAs = (password: string, refspec = MAIN, options: string[] = []) =>
    client.push({ dir: repo.dir, url, user: 'ada', password, refspec, options })
  return {
    ...given,
    pushAs,
    push: (refspec, ...options) => pushAs(token, refspec, options),
    async shownBuild(push) {
      const [, id = ''] = await push.saw(/-----> Build ([a-z0-9]+) queued/)
      return id
    },
  }
}

const asciiOf = (text: string) =>
  Buffer.from(text).reduce(
    (shown, byte) => shown + (byte < 0x7f ? String.fromCharCode(byte) : '[?]'),
    '',
  )

export function testClient(client: GitClient): void {
  const { name } = client

  test(`${name}: a push shows its build as it runs, and goes well with it`, async (t) => {
    const { push, shownBuild, server, repo, tip, build } = await givenApp(t, client)
    for (const refspec of [MAIN, MAIN, `+${MAIN}`]) {
      const rewriting = refspec === MAIN ? [] : ['--amend']
      await repo.git('commit', '--quiet', '--allow-empty', ...rewriting, '-m', refspec)
      const pushed = push(refspec)
      const id = await shownBuild(pushed)
      await server.move(id, 'queued', 'building')
      await server.say(id, { type: 'step', step: { ...STEP, state: 'started' } })
      await server.say(id, { type: 'log', line: WIDE, step: STEP.n })
      const shown = client.showsAsciiOnly ? asciiOf(WIDE) : WIDE
      await pushed.saw(new RegExp(`^ {7}${shown}$`, 'm'))
      assert.equal((await build(id)).status, 'building', 'the text comes while it runs')
      await server.pass(id)
      const { ok, reason, text } = await pushed.done
      assert.ok(ok, `${reason}\n${text}`)
      assert.match(text, new RegExp(`success: build ${id} ready`))
      assert.equal(await tip(), await repo.git('rev-parse', 'HEAD'))
    }
  })

  test(`${name}: a build that fails after its push is told, and the push went well`, async (t) => {
    const { push, shownBuild, server, repo, tip } = await givenApp(t, client)
    const pushed = push(MAIN)
    await server.end(await shownBuild(pushed), 'failed', FAILURE)
    const { ok, reason, text } = await pushed.done
    assert.ok(ok, reason)
    const commit = await repo.git('rev-parse', 'HEAD')
    assert.match(text, /error: build [a-z0-9]+ failed: step 5 .* failed with exit code 1/)
    assert.match(text, new RegExp(`hint: main has moved to ${commit.slice(0, 10)} all the same`))
    assert.equal(await tip(), commit)
  })

  test(`${name}: a gated push is rejected with the step that failed, and taken when it passes`, async (t) => {
    const { push, shownBuild, server, repo, tip } = await givenApp(t, client)
    await server.db('apps').update({ settings: { gate: true } })
    const bad = push(MAIN)
    const id = await shownBuild(bad)
    await server.move(id, 'queued', 'building')
    await server.say(id, { type: 'step', step: { ...STEP, state: 'started' } })
    await server.end(id, 'failed', FAILURE)
    const { ok, reason, text } = await bad.done
    assert.ok(!ok, text)
    assert.match(reason, new RegExp(`build ${id} failed: step 4/7 exited 1`))
    assert.match(text, /hint: main has not moved; the same commit may be pushed again/)
    assert.equal(await tip(), undefined)
    const good = push(MAIN)
    await server.pass(await shownBuild(good))
    const passed = await good.done
    assert.ok(passed.ok, passed.reason)
    assert.match(passed.text, /-----> Moving main/)
    assert.equal(await tip(), await repo.git('rev-parse', 'HEAD'))
  })

  test(`${name}: what is not built is stored with a hint, and may be deleted`, async (t) => {
    const { push, server, repo, tip } = await givenApp(t, client)
    const stored = await push('refs/heads/main:refs/heads/dev').done
    assert.ok(stored.ok, stored.reason)
    assert.match(stored.text, /warning: dev is stored but not built/)
    assert.equal(await tip('refs/heads/dev'), await repo.git('rev-parse', 'HEAD'))
    const deleted = await push(':refs/heads/dev').done
    assert.ok(deleted.ok, deleted.reason)
    assert.equal(await tip('refs/heads/dev'), undefined)
    assert.deepEqual(await server.builds(), [])
  })

  test(`${name}: what is refused is refused with its reason`, async (t) => {
    const { push, shownBuild, server, tip, buildTags } = await givenApp(t, client)
    const first = push(MAIN)
    await server.pass(await shownBuild(first))
    await first.done
    const before = await tip()
    const deletion = await push(':refs/heads/main').done
    assert.ok(!deletion.ok)
    assert.match(deletion.reason, /main is a deploy branch/)
    assert.match(deletion.text, /error: main is a deploy branch.*hint: /s)
    assert.equal(await tip(), before)
    const tags = await buildTags()
    const tag = await push('refs/heads/main:refs/tags/builds/mine').done
    assert.ok(!tag.ok)
    assert.match(tag.reason, /builds\/mine|not hosted here/)
    assert.match(tag.text, /error: refs\/tags\/builds\//)
    assert.deepEqual(await buildTags(), tags)
  })

  test(`${name}: a wrong password is refused, and nothing waits for another`, async (t) => {
    const { pushAs, server, tip } = await givenApp(t, client)
    const { ok, reason } = await pushAs('not-a-token').done
    assert.ok(!ok)
    assert.match(reason, /401|auth|credential/i)
    assert.equal(await tip(), undefined)
    assert.deepEqual(await server.builds(), [])
  })

  if (client.sendsOptions) testOptions(client)
}

function testOptions(client: GitClient): void {
  test(`${client.name}: push options reach the build, and a wrong one refuses the push`, async (t) => {
    const { push, shownBuild, server, tip } = await givenApp(t, client)
    const wrong = await push(MAIN, 'timeout=soon').done
    assert.ok(!wrong.ok)
    assert.match(wrong.reason, /a push option is wrong/)
    assert.match(wrong.text, /push option "timeout=soon": must be a whole number of seconds/)
    assert.equal(await tip(), undefined)
    const gated = push(MAIN, 'gate', 'no-cache', 'timeout=900', 'build-arg=MODE=a=b ä')
    const id = await shownBuild(gated)
    const [{ gate, request } = assert.fail()] = await server.builds()
    assert.equal(gate, 'closed')
    assert.equal(request.no_cache, true)
    assert.deepEqual(request.build_args, { MODE: 'a=b ä' })
    assert.equal(request.build_policy?.timeout_seconds, 900)
    await server.end(id, 'failed', FAILURE)
    const { ok, text } = await gated.done
    assert.ok(!ok)
    assert.doesNotMatch(text, /is not known/)
    assert.equal(await tip(), undefined)
  })
}
