// A build without git on real parts: uploaded, built with what the form says, shown with what was sent.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { execa } from 'execa'
import { followEvents } from '../helpers/apps.ts'
import { givenRepo } from '../helpers/repo.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'
import { post } from '../helpers/sources.ts'

const DOCKERFILE = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
FROM base AS wanted
ARG LINES
COPY . /src
RUN /bin/busybox echo "$LINES" && /bin/busybox cat /src/up/hello.sh /src/Dockerfile
FROM base
RUN ["/bin/busybox", "false"]
`

test('weakness 32: the Dockerfile, target and build arguments of the form count; the source stays as it was', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  const repo = await givenRepo(t, 'hello')
  await execa('sh', ['-c', 'mkdir deep && ln -s .. deep/root && ln -s deep/root up'], {
    cwd: repo.dir,
  })
  const { stdout } = await execa('tar', ['-czf', '-', '--exclude=.git', '.'], {
    cwd: repo.dir,
    encoding: 'buffer',
  })
  const archive = Buffer.from(stdout)
  const form = post(
    ['build_args', JSON.stringify({ LINES: 'one, two\nthree="3"' })],
    ['source', archive],
    ['dockerfile', DOCKERFILE],
    ['target', 'wanted'],
  )

  const reply = await server.api('/builds', token, form)

  assert.equal(reply.status, 202)
  const { id } = (await reply.json()) as { id: string }
  const events = await followEvents(server, id, token)
  const log = events.map(({ content }) => content).join('\n')
  const build = await server.build(id, token)
  assert.equal(build.status, 'ready', log)
  assert.match(log, /^one, two\nthree="3"$/m)
  assert.match(log, /^# The test puts a static busybox beside this file\.$/m)
  const sum = createHash('sha256').update(archive).digest('hex')
  assert.equal(build.provenance?.source_hash, `sha256:${sum}`)
})
