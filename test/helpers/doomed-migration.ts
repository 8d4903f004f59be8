// A process that brings a database up to date and kills itself in the middle of it. Not a test itself.
import { migrate } from '../../server/db/migrate.ts'
import { createDb } from '../../server/db/pool.ts'

const [url = '', statement = ''] = process.argv.slice(2)
const db = createDb(url)
db.on('query-response', (_, { sql }) => {
  if (sql.includes(statement)) process.kill(process.pid, 'SIGKILL')
})
await migrate(db)
process.stdout.write('survived\n')
process.exit(0)
