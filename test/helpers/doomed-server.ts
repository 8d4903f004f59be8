// A process that starts a pod and then waits to be killed, as a server that crashes. Not a test itself.
import { makeRunner, podSpec, type RunnerName } from './pods.ts'

const [dir = '', sourceFile = '', name = 'qemu'] = process.argv.slice(2)
const { runner } = await makeRunner(dir, name as RunnerName)
await runner.start(podSpec('doomed', sourceFile), AbortSignal.timeout(60_000))
process.stdout.write('started\n')
setInterval(() => {}, 1_000)
