// EGRESS_CA_FILE: the certificates of a PEM file and nothing else of it, or one sentence that says what is wrong.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readCertificates } from '../../../server/egress/certificates.ts'
import { givenCertificate } from '../../helpers/internet.ts'

test('certificates are taken out of a file, a private key in it never', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-ca-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const file = join(dir, 'ca.pem')
  const { certFile, keyFile } = await givenCertificate(t, 'git.example.test')
  const [cert, key] = await Promise.all([certFile, keyFile].map((path) => readFile(path, 'utf8')))
  await writeFile(file, `# of the firm\n${key}\n${cert}\n${cert}`)
  assert.equal(await readCertificates(file), `${cert!.trim()}\n${cert!.trim()}`)

  await writeFile(file, key!)
  await assert.rejects(
    readCertificates(file),
    /^Error: EGRESS_CA_FILE=".*": there is no certificate/,
  )
  await writeFile(file, cert!.replace(/MII.{20}/, 'MIIxxxx'))
  await assert.rejects(readCertificates(file), /certificate 1 is damaged/)
  await assert.rejects(readCertificates(`${file}.gone`), /it cannot be read: ENOENT/)
})
