// The hook of a gated push: speaks git's protocol (see githooks(5)), version 1, in pkt-lines on stdin and stdout,
// and the server's on descriptor 3 (see server.sh). Waits for one of them at a time.
'use strict'
const { readSync, writeSync } = require('node:fs')

const [IN, OUT, TEXT, SERVER] = [0, 1, 2, 3]
const LENGTH_BYTES = 4
const CHUNK_BYTES = 64 * 1024
const NEWLINE = 10

let rest = Buffer.alloc(0)
readList() // git's version and features; there is only one version
writeList(['version=1'])
const commands = readList()
try {
  process.exitCode = ask()
} catch {
  writeList(
    commands.map(
      (command) => `ng ${command.slice(command.indexOf(' refs/') + 1)} the build server went away`,
    ),
  )
  process.exitCode = 1
  print('error: the build server went away, so the push was not accepted')
  print('hint: push again when it is back')
}

/** Returns the exit code. */
function ask() {
  const key = readLine()
  const lines = ['proc-receive', ...commands].map((line) => `${key} ${line}\n`)
  write(SERVER, `\n${lines.join('')}${key}\n`)
  const report = []
  for (;;) {
    const line = readLine()
    if (line.startsWith('>')) print(line.slice(1))
    if (line.startsWith('=')) report.push(line.slice(1))
    if (!line.startsWith('exit ')) continue
    write(SERVER, `${key} over\n`)
    writeList(report)
    return Number(line.slice('exit '.length))
  }
}

function print(line) {
  write(TEXT, `${line}\n`)
}

function readLine() {
  for (;;) {
    const end = rest.indexOf(NEWLINE)
    if (end !== -1) {
      const line = rest.toString('utf8', 0, end)
      rest = rest.subarray(end + 1)
      return line
    }
    const chunk = Buffer.alloc(CHUNK_BYTES)
    const read = readSync(SERVER, chunk)
    if (read === 0) throw new Error('the server went away')
    rest = Buffer.concat([rest, chunk.subarray(0, read)])
  }
}

function readList() {
  const lines = []
  for (;;) {
    const length = Number.parseInt(take(LENGTH_BYTES).toString('latin1'), 16)
    if (length === 0) return lines
    lines.push(
      take(length - LENGTH_BYTES)
        .toString('utf8')
        .replace(/\n$/, ''),
    )
  }
}

function take(bytes) {
  const buffer = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; ) {
    const read = readSync(IN, buffer, at, bytes - at, null)
    if (read === 0) throw new Error('git went away')
    at += read
  }
  return buffer
}

function writeList(lines) {
  const packets = lines.map((line) => {
    const length = Buffer.byteLength(line) + LENGTH_BYTES
    return length.toString(16).padStart(LENGTH_BYTES, '0') + line
  })
  write(OUT, `${packets.join('')}0000`)
}

function write(descriptor, text) {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
}
