// Steps that several end-to-end tests begin with.
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { testParts } from './parts.ts'
import { givenRepo, type Repo, remoteUrl } from './repo.ts'
import type { TestServer } from './server.ts'

/** A fixture's repository with the remote `hypeman` set. */
export async function givenApp(
  t: TestContext,
  server: TestServer,
  token: string,
  name: string,
  fixture?: string,
): Promise<Repo> {
  const repo = await givenRepo(t, fixture)
  await repo.git('remote', 'add', 'hypeman', remoteUrl(server.url, token, `/${name}.git`))
  return repo
}

/** Makes the app with settings before its first push. */
export async function givenSettings(
  server: TestServer,
  token: string,
  name: string,
  settings: Record<string, unknown>,
): Promise<void> {
  const response = await server.api('/apps', token, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, ...settings }),
  })
  if (response.status !== 201) throw new Error(`POST /apps: ${await response.text()}`)
}

/** `host:port/name` of the test's registry, for skopeo. */
export function imageName(server: TestServer, name: string): string {
  return `docker://${new URL(server.url).host}/${name}`
}

export async function skopeo(...args: string[]): Promise<string> {
  const { skopeo: command } = await testParts()
  return (await execa(command, args)).stdout
}

/** The events of a build by SSE, from first to last. */
export async function followEvents(
  server: TestServer,
  id: string,
  token: string,
): Promise<Record<string, unknown>[]> {
  const response = await server.api(`/builds/${id}/events?follow=true`, token)
  const text = await response.text()
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => JSON.parse(line.slice('data: '.length)) as Record<string, unknown>)
}
