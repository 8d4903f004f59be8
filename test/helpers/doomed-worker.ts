// A worker that runs one build in a played guest and kills itself at one point of it, as a server that crashes.
// Not a test itself.
import { writeFile } from 'node:fs/promises'
import { CACHE_DISK_CLEAN_NOTE } from '../../agent/protocol.ts'
import { createListener } from '../../server/db/listen.ts'
import { createDb } from '../../server/db/pool.ts'
import { makeBuilderWorker } from './builder-worker.ts'
import { silent } from './database.ts'
import { goodResult, WELL } from './played-builds.ts'
import { playedRunner } from './played-guest.ts'

const [url = '', root = '', when = '', statement = ''] = process.argv.slice(2)
const die = () => process.kill(process.pid, 'SIGKILL')

const db = createDb(url)
const listener = createListener({ url, log: silent })
await listener.start()
const { run } = await makeBuilderWorker({ db, listener, root })
const at = new RegExp(statement, 's')
if (when === 'before') db.on('query', ({ sql }) => at.test(sql) && die())
if (when === 'after') db.on('query-response', (_, { sql }) => at.test(sql) && die())
const runner = playedRunner(
  async ({ spec, say }) => {
    await writeFile(spec.cacheFile!, 'state two')
    if (when === 'guest') die()
    say({ type: 'result', result: goodResult() })
  },
  CACHE_DISK_CLEAN_NOTE,
  { exited: Promise.resolve(WELL) },
)
await run(runner)
process.stdout.write('survived\n')
process.exit(0)
