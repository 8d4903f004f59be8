// The hook: passes the moved refs to the server over its socket and prints what comes back. No dependencies
// and no logic, because it starts with every push and stays as long as somebody watches the build.
'use strict'
const { connect } = require('node:net')
const { readFileSync } = require('node:fs')
const { env, pid, ppid, cwd, stdout, exit } = process

const hook = process.argv[2]
const isAdmission = hook === 'pre-receive'

/** Written at once: git passes lines on as they come. */
const print = (line) => stdout.write(`${line}\n`)

const refs = readFileSync(0, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => {
    const [oldSha, newSha, ...ref] = line.split(' ')
    return { oldSha, newSha, ref: ref.join(' ') }
  })
const options = []
for (let i = 0; i < Number(env.GIT_PUSH_OPTION_COUNT || 0); i += 1) {
  options.push(env[`GIT_PUSH_OPTION_${i}`] || '')
}

let ended = false
let rest = ''
const socket = connect(env.HYPEMAN_HOOK_SOCKET)
socket.setEncoding('utf8')
socket.on('connect', () => {
  socket.write(`${JSON.stringify({ hook, pid, ppid, repo: cwd(), refs, options })}\n`)
})
socket.on('data', (text) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop()
  for (const line of lines) {
    const message = JSON.parse(line)
    if (typeof message.line === 'string') print(message.line)
    if (typeof message.exit === 'number') {
      ended = true
      socket.end()
      process.exitCode = message.exit
    }
  }
})
socket.on('error', () => {}) // 'close' follows
socket.on('close', () => {
  if (ended) return
  if (isAdmission) {
    print('error: the build server went away, so the push was not accepted')
    print('hint: push again when it is back')
    exit(1)
  }
  print('error: the build server went away; the push itself is stored')
  print('hint: the build goes on, or starts, when the server is back')
  exit(0)
})
// git reads no more: not a reason to fail.
stdout.on('error', () => exit(0))
