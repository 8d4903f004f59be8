import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstVersion } from '../../../server/setup/doctor/look.ts'
import { goMinor } from '../../../server/setup/parts/go.ts'
import { cargoMinor } from '../../../server/setup/parts/vsock-device.ts'

test('the age of a tool chain is read from what it says, and an unknown answer counts as too old', () => {
  assert.equal(goMinor('go version go1.26.8 linux/amd64'), 26)
  assert.equal(goMinor('go version go1.19 linux/amd64'), 19)
  assert.equal(goMinor(''), 0)
  assert.equal(cargoMinor('cargo 1.95.0 (f2d3ce0bd 2026-03-21)'), 95)
  assert.equal(cargoMinor('error: no default toolchain'), 0)
})

test('the doctor finds the version in the many ways in which programs tell it', () => {
  const said = {
    'git version 2.39.5': '2.39.5',
    'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)': '7.2.22',
    'umoci version 0.4.7+ds-3+b7': '0.4.7',
    'mksquashfs version 4.5.1 (2022/03/17)\ncopyright (C) 2022': '4.5.1',
    'BusyBox v1.35.0 (Debian 1:1.35.0-4+b1) multi-call binary.': '1.35.0',
    'kmod version 30\n+ZSTD +XZ': '30',
    '/x86_64-v3/registry github.com/distribution/distribution/v3 v3.1.2': '3.1.2',
    'buildkitd github.com/moby/buildkit v0.33.1 ': '0.33.1',
    'postgres (PostgreSQL) 18.4': '18.4',
  }
  for (const [text, version] of Object.entries(said)) assert.equal(firstVersion(text), version)
  assert.equal(firstVersion('command not found'), undefined)
})
