// What a build prints of its secrets is hidden before anybody stores it.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { createRedactor, HIDDEN } from '../../../server/secrets/redact.ts'

function redactorOf(...values: (string | Buffer)[]) {
  const redactor = createRedactor()
  redactor.learn(values.map((value) => Buffer.from(value as string)))
  return redactor.text
}

const value = fc
  .oneof(
    fc.string({ minLength: 4, maxLength: 60 }),
    fc
      .string({ unit: 'binary', minLength: 4, maxLength: 20 })
      .filter((text) => !/\p{Surrogate}/u.test(text)),
    fc.base64String({ minLength: 8, maxLength: 80 }),
  )
  .filter((text) => text.trim().length >= 4)

test('a line without a secret is left as it is', () => {
  const redact = redactorOf('hunter2!')
  assert.equal(redact('nothing to see: hunter, 2!'), 'nothing to see: hunter, 2!')
  assert.equal(createRedactor().text('hunter2!'), 'hunter2!')
})

test('weakness 8: a secret is hidden wherever it stands in a line', () => {
  const redact = redactorOf('hunter2!')
  assert.equal(redact('token=hunter2!;again hunter2!'), `token=${HIDDEN};again ${HIDDEN}`)
})

test('weakness 8: no redacted line holds the secret, its base64 or its URL form', () => {
  fc.assert(
    fc.property(value, fc.string(), fc.string(), (secret, before, after) => {
      const redact = redactorOf(secret)
      const utf8 = Buffer.from(secret)
      const forms = [
        secret,
        utf8.toString('base64'),
        utf8.toString('base64').replace(/=+$/, ''),
        utf8.toString('base64url'),
        encodeURIComponent(secret),
        new URLSearchParams({ '': secret }).toString().slice(1),
        JSON.stringify(secret).slice(1, -1),
      ]
      for (const form of forms) {
        const shown = redact(`${before}${form}${after}`)
        for (const hidden of forms) assert.ok(!shown.includes(hidden), `${hidden} in ${shown}`)
      }
    }),
    { numRuns: 400 },
  )
})

test('weakness 8: base64 of a text that has the secret in its middle is hidden with every bit of it', () => {
  const around = fc.string({ maxLength: 5 })
  const property = fc.property(value, around, around, (secret, user, rest) => {
    const redact = redactorOf(secret)
    const [first, last] = [Buffer.byteLength(user), Buffer.byteLength(user + secret)]
    for (const alphabet of ['base64', 'base64url'] as const) {
      const text = Buffer.from(`${user}${secret}${rest}`).toString(alphabet).replace(/=+$/, '')
      const shown = redact(text).split(HIDDEN)
      assert.ok(shown.length > 1)
      assert.ok(shown.at(0)!.length <= Math.floor((8 * first) / 6))
      assert.ok(shown.at(-1)!.length <= text.length - Math.ceil((8 * last) / 6))
    }
  })
  fc.assert(property, { numRuns: 300 })
})

test('a secret of several lines is hidden line by line, and as base64 of the usual widths', () => {
  const body = Array.from({ length: 6 }, () => randomBytes(48).toString('base64'))
  const key = `-----BEGIN KEY-----\n${body.join('\n')}\n-----END KEY-----\n`
  const redact = redactorOf(key)
  for (const line of body) assert.equal(redact(`| ${line}\r`), `| ${HIDDEN}\r`)
  for (const width of [64, 76]) {
    const wrapped =
      Buffer.from(key)
        .toString('base64')
        .match(new RegExp(`.{1,${width}}`, 'g')) ?? []
    for (const line of wrapped) assert.equal(redact(line), HIDDEN)
  }
})

test('secrets that overlap or stand side by side leave nothing of each other', () => {
  const redact = redactorOf('abcdef', 'defghi', 'xyz*')
  assert.equal(redact('>abcdefghi<'), `>${HIDDEN}<`)
  assert.equal(redact('>abcdefabcdef<'), `>${HIDDEN}<`)
  assert.doesNotMatch(redact('xyzabcdef'), /xyz\*|abcdef/)
})

test('a value of fewer than four characters is not looked for', () => {
  assert.equal(redactorOf('abc\n')('abcabc'), 'abcabc')
})

test('bytes that are no text are found as the log shows them', () => {
  const bytes = Buffer.from([0xff, 0x41, 0x42, 0xfe, 0x43, 0x44])
  const redact = redactorOf(bytes)
  assert.equal(redact(`<${bytes.toString('utf8')}>`), `<${HIDDEN}>`)
  assert.equal(redact(`<${bytes.toString('base64')}>`), `<${HIDDEN}>`)
  assert.equal(redact('<%FFAB%FECD>'), `<${HIDDEN}>`)
})

test('a line made to take for ever is hidden as a whole', () => {
  const secrets = Array.from({ length: 50 }, (_, n) => 'A'.repeat(1000 + n))
  const line = 'A'.repeat(64 * 1024 - 1)
  assert.equal(redactorOf(...secrets)(`${line}B`), HIDDEN)
})

test('a line that gets one character shorter with each look does not stop the server', () => {
  const line = `${'a'.repeat(256 * 1024)}***`
  assert.equal(redactorOf('a***')(line), HIDDEN)
})

test('weakness 8: a secret printed in UTF-16 is hidden, because the NULs between are not kept', () => {
  const utf16 = Buffer.from('it is hunter2!', 'utf16le').toString('utf8')
  assert.equal(redactorOf('hunter2!')(utf16), `it is ${HIDDEN}`)
  assert.equal(redactorOf('ab\0cd\0ef')('ab\0cd\0ef'), HIDDEN)
})
