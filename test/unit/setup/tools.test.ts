import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  missingPackages,
  TOOL_PACKAGES,
  type Tool,
  type Tools,
} from '../../../server/setup/tools.ts'

const all = Object.fromEntries(
  (Object.keys(TOOL_PACKAGES) as Tool[]).map((name) => [name, `/usr/bin/${name}`]),
) as Tools

test('nothing is installed on a machine that has every tool', () => {
  assert.deepEqual(missingPackages(all, true), [])
})

test('only the packages of missing tools are asked for, in a fixed order', () => {
  const some: Partial<Tools> = { ...all }
  delete some.umoci
  delete some['qemu-system-x86_64']
  assert.deepEqual(missingPackages(some, false), [
    'debian-archive-keyring',
    'qemu-system-x86',
    'umoci',
  ])
})
