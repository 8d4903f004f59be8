// The hook: passes the moved refs to the server over its socket and prints what comes back. No dependencies
// and no logic, because it starts with every push and stays as long as somebody watches the build.
'use strict'
const { connect } = require('node:net')
const { readFileSync } = require('node:fs')
const { env, pid, ppid, cwd, stdout, stderr, exit } = process

const hook = process.argv[2]
const isGate = hook === 'proc-receive'
const gate = isGate ? require('./proc-receive.cjs') : undefined
/** git speaks its protocol with a gate on stdout. */
const out = isGate ? stderr : stdout

/** Written at once: git passes lines on as they come. */
const print = (line) => out.write(`${line}\n`)

const refs = isGate ? gate.readCommands() : readLines()

function readLines() {
  return readFileSync(0, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [oldSha, newSha, ...ref] = line.split(' ')
      return { oldSha, newSha, ref: ref.join(' ') }
    })
}

/** What git hears of a gate that has no verdict. */
const rejectAll = (reason) => gate.writeReport(refs.map(({ ref }) => ({ ref, reason })))

let ended = false
let rest = ''
const socket = connect(env.HYPEMAN_HOOK_SOCKET)
socket.setEncoding('utf8')
socket.on('connect', () => {
  socket.write(`${JSON.stringify({ hook, pid, ppid, repo: cwd(), refs })}\n`)
})
socket.on('data', (text) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop()
  for (const line of lines) {
    const message = JSON.parse(line)
    if (typeof message.line === 'string') print(message.line)
    if (typeof message.exit === 'number') end(message)
  }
})
socket.on('error', () => {}) // 'close' follows
socket.on('close', () => {
  if (ended) return
  if (hook === 'post-receive') {
    print('error: the build server went away; the push itself is stored')
    print('hint: the build goes on, or starts, when the server is back')
    exit(0)
  }
  print('error: the build server went away, so the push was not accepted')
  print('hint: push again when it is back')
  if (isGate) rejectAll('the build server went away')
  exit(1)
})
// git reads no more: not a reason to fail.
out.on('error', () => exit(0))

function end({ exit: code, results }) {
  ended = true
  socket.end()
  process.exitCode = code
  if (!isGate) return
  if (results) gate.writeReport(results)
  else rejectAll('the build server failed')
}
