import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDial } from '../../../server/egress/dial.ts'
import { createResolve } from '../../../server/egress/resolve.ts'

const never = () => new Promise<string[]>(() => {})
const noLookup = async () => assert.fail('an address needs no lookup')

test('private addresses are refused however they are written or named', async () => {
  const names: Record<string, string> = { 'inner.example': '10.0.0.1', localhost: '::1' }
  const dial = createDial({ allowAddresses: [], resolve: async (host) => [names[host] ?? ''] })
  for (const host of [...Object.keys(names), '127.0.0.1', '::ffff:10.0.0.1', '169.254.169.254']) {
    await assert.rejects(dial(host, 80), { name: 'EgressRefused' }, host)
  }
})

test('numbers the system takes for addresses are checked after the system has read them', async () => {
  const dial = createDial({ allowAddresses: [], resolve: createResolve() })
  for (const host of ['2130706433', '0x7f000001', '127.1', 'localhost']) {
    await assert.rejects(dial(host, 80), /is not a public address/, host)
  }
})

test('a refused IPv6 address is named in brackets, apart from its port', async () => {
  const dial = createDial({ allowAddresses: [], resolve: noLookup })
  await assert.rejects(dial('::1', 80), /^EgressRefused: \[::1\]:80 is not a public address/)
})

test('the host’s own public addresses are refused in every spelling', async () => {
  const ownAddresses = () => ['93.184.216.34', '2606:4700::1']
  const dial = createDial({ allowAddresses: [], resolve: noLookup, ownAddresses })
  for (const host of [
    '93.184.216.34',
    '2606:4700::1',
    '2606:4700:0:0:0:0:0:1',
    '2606:4700::0.0.0.1',
  ]) {
    await assert.rejects(dial(host, 443), /is not a public address/, host)
  }
})

test('public addresses are reached on ports 80 and 443 only', async () => {
  const dial = createDial({ allowAddresses: [], resolve: noLookup, ownAddresses: () => [] })
  for (const port of [22, 25, 8080, 5432]) {
    await assert.rejects(dial('93.184.216.34', port), /port \d+ is not allowed/)
  }
})

test('a name with no public address is refused although it has many others', async () => {
  const resolve = async () => ['10.0.0.1', '192.168.0.1', '::1']
  const dial = createDial({ allowAddresses: [], resolve })
  await assert.rejects(dial('many.example', 443), { name: 'EgressRefused' })
})

test('a name server that does not answer is given up on', async () => {
  const resolve = createResolve({ lookupAll: never, deadlineMs: 20 })
  const dial = createDial({ allowAddresses: [], resolve })
  await assert.rejects(dial('slow.example', 443), { name: 'EgressTimeout' })
})

test('only two lookups run at once, and the next begins when one ends', async () => {
  const running: ((addresses: string[]) => void)[] = []
  let most = 0
  let open = 0
  const resolve = createResolve({
    lookupAll: async () => {
      open += 1
      most = Math.max(most, open)
      const addresses = await new Promise<string[]>((done) => running.push(done))
      open -= 1
      return addresses
    },
  })
  const answers = Promise.all(['a', 'b', 'c', 'd', 'e'].map(resolve))
  for (let n = 0; n < 5; n += 1) {
    await new Promise(setImmediate)
    running.shift()?.([`10.0.0.${n}`])
  }
  assert.equal((await answers).flat().length, 5)
  assert.equal(most, 2)
})

test('a failed lookup makes room for the next, as does one given up on', async () => {
  let calls = 0
  const resolve = createResolve({
    deadlineMs: 20,
    lookupAll: async () => {
      calls += 1
      if (calls <= 4) throw new Error('ENOTFOUND')
      return ['1.1.1.1']
    },
  })
  for (let n = 0; n < 4; n += 1) await assert.rejects(resolve('x'), /ENOTFOUND/)
  assert.deepEqual(await resolve('y'), ['1.1.1.1'])
})
