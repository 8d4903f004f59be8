// A process that collects garbage, piece by piece, until it is killed. Not a test itself.
import { createOwnRegistry } from '../../server/registry/own/own-registry.ts'
import { collected, NO_GRACE } from './garbage.ts'

const [dataDir = ''] = process.argv.slice(2)
const registry = createOwnRegistry({ socketPath: '/nonexistent', dataDir })
await collected(registry, { graces: NO_GRACE, batch: 1 })
