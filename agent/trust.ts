// Certificates that an operator has added to those of the system, for a firm's own servers.
import { readFileSync, writeFileSync } from 'node:fs'

const SYSTEM_FILE = '/etc/ssl/certs/ca-certificates.crt'

/** One file with all of them; undefined when there are none but the system's. */
export function trustFile(
  certificates: string | undefined,
  runFolder: string,
  systemFile = SYSTEM_FILE,
): string | undefined {
  if (certificates === undefined) return undefined
  const file = `${runFolder}/trusted.pem`
  writeFileSync(file, `${readSystem(systemFile)}\n${certificates}\n`)
  return file
}

function readSystem(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // A builder image without any: then only the added ones count.
    return ''
  }
}
