// Certificates of a firm's own, for what builds fetch over TLS.
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { asError } from '../errors.ts'
import { CA_FILE_BYTES_MAX } from '../limits.ts'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----/g

/** The certificates of a PEM file, and nothing else of it: builds are shown what comes back. */
export async function readCertificates(file: string): Promise<string> {
  const wrong = (what: string) => new Error(`EGRESS_CA_FILE=${JSON.stringify(file)}: ${what}`)
  const text = await readFile(file, 'utf8').catch((error) => {
    throw wrong(`it cannot be read: ${asError(error).message}`)
  })
  const found = text.match(CERTIFICATE) ?? []
  if (found.length === 0) throw wrong('there is no certificate in it; it must be PEM')
  for (const [i, pem] of found.entries()) {
    try {
      new X509Certificate(pem)
    } catch (error) {
      throw wrong(`certificate ${i + 1} is damaged: ${asError(error).message}`)
    }
  }
  const all = found.join('\n')
  if (all.length > CA_FILE_BYTES_MAX) throw wrong(`over ${CA_FILE_BYTES_MAX} bytes of certificates`)
  return all
}
