// A server of the test's own; ended and removed with the test.
import type { TestContext } from 'node:test'
import { launchServer, type ServerProcess } from './server-process.ts'

export type TestServer = ServerProcess

export async function givenServer(
  t: TestContext,
  env: Record<string, string> = {},
): Promise<TestServer> {
  const server = await launchServer(env)
  t.after(() => server.remove())
  return server
}
