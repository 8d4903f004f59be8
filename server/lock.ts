// One server per data folder: whoever holds the lock socket is the one. A socket nobody answers on was
// left by a dead server and is taken over.
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'

/** Returns the function that gives the lock back; throws when another server holds it. */
export async function lockDataDir(
  socketPath: string,
  dataDir: string,
): Promise<() => Promise<void>> {
  if (await answers(socketPath)) {
    throw new Error(
      `another server already runs on DATA_DIR=${dataDir}. Stop it first, or give this one its own DATA_DIR.`,
    )
  }
  await rm(socketPath, { force: true })
  const server = createServer((socket) => socket.destroy())
  server.listen(socketPath)
  await once(server, 'listening')
  server.unref()
  return async () => {
    server.close()
    await rm(socketPath, { force: true })
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
