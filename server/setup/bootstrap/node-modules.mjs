// Installs node_modules with `npm ci` when they are missing or not what the lock file says. npm's own record
// of what it installed is compared, so that an up-to-date folder costs two reads, whoever installed it.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

const FLAGS = ['--include=dev', '--include=optional', '--ignore-scripts', '--no-audit', '--no-fund']

export async function ensureNodeModules(root) {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const installed = packagesOf(join(root, 'node_modules/.package-lock.json'))
  if (!wanted) throw new Error(`${join(root, 'package-lock.json')} cannot be read. Clone again.`)
  if (installed && isInstalled(wanted, installed)) return
  process.stderr.write('setup: node modules (npm ci) …\n')
  const started = Date.now()
  const [command, ...first] = npmCommand()
  // Its stdout goes to our stderr: stdout belongs to the verb.
  const stdio = ['inherit', 2, 2]
  const { status, error } = spawnSync(command, [...first, 'ci', ...FLAGS, '--loglevel=error'], {
    cwd: root,
    stdio,
  })
  if (status !== 0) {
    const how = error ? error.message : `exit code ${status}`
    throw new Error(`npm ci failed (${how}), see above.\nTo repair: cd ${root} && npm ci`)
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1)
  process.stderr.write(`setup: node modules ready in ${seconds} s\n`)
}

/** Whether every package is there that must be, in the wanted version. */
export function isInstalled(wanted, installed) {
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const found = installed[path]
    // Optional packages are those of other machines.
    if (!found) return entry.optional === true
    return found.version === entry.version && found.integrity === entry.integrity
  })
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}

/** The npm that started us, else the one on PATH. */
function npmCommand() {
  const path = process.env.npm_execpath ?? ''
  return basename(path) === 'npm-cli.js' ? [process.execPath, path] : ['npm']
}
