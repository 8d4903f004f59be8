// What OBJECTS may say.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { objectsLocation } from '../../../server/objects/location.ts'

const region = 'us-east-1'

test('a folder is a folder, from the root', () => {
  assert.deepEqual(objectsLocation({ where: '/srv/objects', region }), {
    kind: 'folder',
    path: '/srv/objects',
  })
})

test('a bucket may have a prefix, which ends in a slash however it was written', () => {
  const base = { kind: 's3', bucket: 'builds', region, endpoint: undefined, credentials: undefined }
  for (const [where, prefix] of [
    ['s3://builds', ''],
    ['s3://builds/', ''],
    ['s3://builds/prod', 'prod/'],
    ['s3://builds//prod//x/', 'prod/x/'],
  ] as const) {
    assert.deepEqual(objectsLocation({ where, region }), { ...base, prefix })
  }
})

test('anything else is refused', () => {
  for (const where of ['s3://', 's3://A', 's3://b_c', 'gs://builds', 's3://builds/a b']) {
    assert.throws(() => objectsLocation({ where, region }), /folder or s3:/)
  }
})

test('half a pair of credentials is refused', () => {
  const where = 's3://builds'
  assert.throws(() => objectsLocation({ where, region, accessKeyId: 'id' }), /or neither/)
  assert.throws(() => objectsLocation({ where, region, secretAccessKey: 'x' }), /or neither/)
})
