// Push options: whatever is given, each is a flag, a checked value, named as unknown, or refused by name.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AppError } from '../../../server/errors.ts'
import {
  mergeBuildArgs,
  NO_OPTIONS,
  parsePushOptions,
  unknownLines,
} from '../../../server/git/push-options.ts'

test('nothing given is nothing wanted', () => {
  assert.deepEqual(parsePushOptions([]), NO_OPTIONS)
})

test('whatever is given, nothing is lost and nothing but a refusal is thrown', () => {
  const option = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom('no-cache', 'detach', 'quiet', 'gate', 'timeout=60', '__proto__', 'toString='),
    fc.string({ maxLength: 20 }).map((value) => `build-arg=${value}`),
    fc.string({ maxLength: 20 }).map((value) => `timeout=${value}`),
  )
  fc.assert(
    fc.property(fc.array(option, { maxLength: 6 }), (given) => {
      try {
        const { noCache, detach, quiet, gate, buildArgs, timeoutSeconds, unknown } =
          parsePushOptions(given)
        const flags = Object.entries({ 'no-cache': noCache, detach, quiet, gate })
        for (const [name, isSet] of flags) assert.equal(isSet, given.includes(name))
        const repeated = given.filter((word) => flags.some(([name]) => name === word)).length
        const values = Object.keys(buildArgs).length + (timeoutSeconds === undefined ? 0 : 1)
        assert.equal(repeated + values + unknown.length, given.length)
      } catch (error) {
        if (!(error instanceof AppError)) throw error
        assert.match(error.message, /^push options? /)
        assert.doesNotMatch(error.message, /[\u0000-\u001f\u007f-\u009f]/)
      }
    }),
  )
})

test('an option cannot write on the terminal', () => {
  const [line] = unknownLines(parsePushOptions(['\u001b[2Jerror: forged\nhint: x']))
  assert.doesNotMatch(line ?? '', /[\u001b\n]/)
})

test('arguments of app and push together are bounded', () => {
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`A${i}`, '']))
  const options = parsePushOptions(['build-arg=B=1'])
  assert.throws(() => mergeBuildArgs(many, options), /at most 100 build arguments/)
  assert.deepEqual(mergeBuildArgs({ B: '0', C: '2' }, options), { B: '1', C: '2' })
})
