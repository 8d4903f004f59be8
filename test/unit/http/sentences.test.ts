// What a person reads about a value that is no good.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { AppError } from '../../../server/errors.ts'
import { validate } from '../../../server/http/validation.ts'
import { SecretValue } from '../../../server/secrets/schema.ts'

const Body = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).optional(),
  name: z.string().min(1).max(3).optional(),
  kind: z.enum(['red', 'blue']).optional(),
  list: z.array(z.string()).max(1).optional(),
  tags: z.record(z.string(), z.string()).optional(),
})

function said(input: unknown, schema: z.ZodType = Body): string {
  try {
    validate(schema, input, 'body')
  } catch (error) {
    if (error instanceof AppError) return error.message
    throw error
  }
  return 'taken'
}

test('a wrong value is told in a sentence, not in the words of the library', () => {
  const cases: [unknown, string][] = [
    [{ limit: '0' }, 'body limit="0": must be at least 1'],
    [{ limit: '201' }, 'body limit="201": must be at most 200'],
    [{ limit: '1.5' }, 'body limit="1.5": must be a whole number'],
    [{ name: '' }, 'body name="": must not be empty'],
    [{ name: 'long' }, 'body name="long": must have at most 3 characters'],
    [{ name: ['a', 'b'] }, 'body name=["a","b"]: must be text'],
    [{ kind: 'x' }, 'body kind="x": must be red or blue'],
    [{ list: ['a', 'b'] }, 'body list=["a","b"]: must have at most 1 item'],
    [{ tags: 'x' }, 'body tags="x": must be an object'],
    ['x', 'body="x": must be an object'],
  ]
  for (const [input, expected] of cases) assert.equal(said(input), expected)
})

test('a key called __proto__ is refused, where a record would lose it without a word', () => {
  const own = JSON.parse('{"tags":{"__proto__":"x"}}')
  assert.match(said(own), /^body tags\.__proto__: is not taken as a name/)
  assert.match(said(JSON.parse('{"__proto__":{"tags":1}}')), /^body __proto__: is not taken/)
})

test('an empty secret is said to be empty, not too long', () => {
  assert.equal(said({ value: '' }, SecretValue), 'body value: must not be empty')
  assert.equal(said({ value_base64: '' }, SecretValue), 'body value_base64: must not be empty')
  assert.equal(said({ value_base64: '!!' }, SecretValue), 'body value_base64: must be valid base64')
})
