// The registry at the end of a guest's tunnel.
import { createServer } from 'node:http'
import type { RegistryProxy } from '../registry/proxy.ts'
import type { ServerLink } from '../workers/link.ts'

export function guestRegistry(serve: RegistryProxy): ServerLink['registryService'] {
  const server = createServer({ requestTimeout: 0 })
  server.on('request', (req, res) => void serve(req, res))
  return (socket) => server.emit('connection', socket)
}
