// git's side of proc-receive (see githooks(5)): version 1, in pkt-lines on stdin and stdout.
'use strict'
const { readSync, writeSync } = require('node:fs')

const LENGTH_BYTES = 4

/** The commands that git asks about. */
exports.readCommands = () => {
  readList() // its version and features; there is only one version
  write(['version=1'])
  return readList().map((line) => {
    const [oldSha, newSha, ...ref] = line.split(' ')
    return { oldSha, newSha, ref: ref.join(' ') }
  })
}

/** `results`: {ref, reason?}; without a reason git itself moves the ref. */
exports.writeReport = (results) => {
  write(
    results.flatMap(({ ref, reason }) =>
      reason === undefined ? [`ok ${ref}`, 'option fall-through'] : [`ng ${ref} ${reason}`],
    ),
  )
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
    const read = readSync(0, buffer, at, bytes - at, null)
    if (read === 0) throw new Error('git went away')
    at += read
  }
  return buffer
}

function write(lines) {
  const packets = lines.map((line) => {
    const length = Buffer.byteLength(line) + LENGTH_BYTES
    return length.toString(16).padStart(LENGTH_BYTES, '0') + line
  })
  const bytes = Buffer.from(`${packets.join('')}0000`)
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at)
}
