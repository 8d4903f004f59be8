// How a worker takes the word of the agent for an attempt.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toFailure } from '../../../server/pipeline/outcome.ts'
import { goodResult } from '../../helpers/played-builds.ts'

const PUSHING = 'the image could not be pushed: failed to push localhost:5000/builds/a1: unknown: '

const mayRetry = (error: string, failureClass: 'registry' | 'build' = 'registry') =>
  toFailure(goodResult({ success: false, failure_class: failureClass, error })).mayRetry

test('an upload that an outage of the registry has cut is tried once more: its build failed', () => {
  assert.equal(mayRetry(`${PUSHING}blob upload invalid - invalid secret`), true)
  assert.equal(mayRetry(`${PUSHING}blob upload unknown to registry`), true)
  assert.equal(mayRetry(`${PUSHING}invalid content range`), true)
})

test('a registry that says no is not asked again, and a step that speaks like one is the user’s', () => {
  assert.equal(mayRetry(`${PUSHING}insufficient_scope: authorization failed`), false)
  assert.equal(mayRetry('step 3 failed: blob upload invalid', 'build'), false)
})
