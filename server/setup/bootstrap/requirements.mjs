// What no set-up can bring: the right Node on the right machine.

const NODE_MIN = [20, 19]

/** One sentence with the value that is wrong and what to do, or undefined. */
export function machineProblem({ version, execPath, platform, arch }) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
    const wanted = NODE_MIN.join('.')
    return `Node ${wanted} or newer is needed, ${execPath} is ${version}. Get one from https://nodejs.org and start again.`
  }
  if (platform !== 'linux' || arch !== 'x64') {
    return `the server runs on Linux on x64, this machine is ${platform} on ${arch}. Use a Debian or Ubuntu machine.`
  }
  return undefined
}
