// Where no sandbox can be made the runner says what was tried and what it said, and leaves nothing.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { createBubblewrapRunner } from '../../server/runners/bubblewrap.ts'
import { selectRunner } from '../../server/runners/select.ts'
import { ensureBubblewrap } from '../../server/setup/parts/bubblewrap.ts'
import { silent } from '../helpers/database.ts'
import { testParts } from '../helpers/parts.ts'
import { podSpec } from '../helpers/pods.ts'
import { testSandboxes } from '../helpers/sandboxes.ts'

async function givenBroken(t: TestContext, script: string) {
  const dir = await mkdtemp(join(tmpdir(), 'hm-broken-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  await chmod(dir, 0o711)
  const unshare = join(dir, 'unshare')
  await writeFile(unshare, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  const parts = await testParts()
  const { tools, rootfs } = await ensureBubblewrap(parts, parts.builder)
  const [runDir, dataDir] = [join(dir, 'run'), join(dir, 'data')]
  const folders = { runDir, dataDir, log: silent }
  const runner = createBubblewrapRunner({ ...folders, tools: { ...tools, unshare }, rootfs })
  const remains = async () => [await readdir(runDir), await readdir(join(dataDir, 'pods'))].flat()
  return { runner, remains }
}

// Closing the machine's namespaces for real would close them for every test that runs beside this one, so the
// program that opens them answers as it does on such a machine.
const CLOSED = `case "$*" in
--user*) echo "unshare: unshare failed: Operation not permitted" >&2; exit 1 ;;
*) exec /usr/bin/unshare "$@" ;;
esac`

await testSandboxes(() => {
  test('closed user namespaces are a reason with the sysctls that close them', async (t) => {
    const { runner, remains } = await givenBroken(t, CLOSED)
    const reason = await runner.unusableReason()
    assert.match(reason ?? '', /unshare failed: Operation not permitted/)
    assert.match(reason ?? '', /user\.max_user_namespaces/)
    assert.deepEqual(await remains(), [])
    await assert.rejects(selectRunner('bubblewrap', [runner]), { code: 'runner_unusable' })
    const start = runner.start(podSpec('never', '/dev/null'), AbortSignal.timeout(60_000))
    await assert.rejects(start, { code: 'runner_unusable' })
    assert.deepEqual(await remains(), [])
  })

  test('a chain that stops without a word is a reason too', async (t) => {
    const { runner, remains } = await givenBroken(t, 'exit 7')
    assert.match((await runner.unusableReason()) ?? '', /ended with exit code 7/)
    assert.deepEqual(await remains(), [])
  })
})

test('who is not root is told so', async () => {
  const program = `
    import { createBubblewrapRunner } from './server/runners/bubblewrap.ts'
    process.getuid = () => 1000
    const runner = createBubblewrapRunner({ tools: {}, rootfs: '/', runDir: '/none', dataDir: '/none', log: {} })
    console.log(await runner.unusableReason())`
  const args = ['--import', 'tsx', '--input-type=module', '-e', program]
  const { stdout } = await execa(process.execPath, args)
  assert.match(stdout, /only root .* start the server as root/)
})
