// Deadlines that must fire whatever the garbage collector does.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { joinSignals } from '../../server/join-signals.ts'

test('a build whose guest does not answer is not waited for for ever: the deadline outlives garbage collection', async () => {
  const module = fileURLToPath(new URL('../../server/join-signals.ts', import.meta.url))
  const script = `
    const { joinSignals } = await import(${JSON.stringify(module)})
    const { signal } = joinSignals([new AbortController().signal], 300)
    const hold = setTimeout(() => { console.log('never fired'); process.exit(1) }, 3000)
    signal.addEventListener('abort', () => { clearTimeout(hold); console.log('fired') })
    for (let i = 0; i < 10; i += 1) globalThis.gc()
  `
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', script]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  assert.equal(stdout.trim(), 'fired')
})

test('the first source to abort gives the reason, and after dispose nothing does', () => {
  const [first, second] = [new AbortController(), new AbortController()]
  const joined = joinSignals([first.signal, second.signal], 10_000)
  const reason = new Error('why')
  second.abort(reason)
  first.abort(new Error('late'))
  assert.equal(joined.signal.reason, reason)
  joined.dispose()

  const third = new AbortController()
  const forgotten = joinSignals([third.signal])
  forgotten.dispose()
  third.abort()
  assert.equal(forgotten.signal.aborted, false)
  assert.equal(joinSignals([third.signal]).signal.aborted, true)
})
