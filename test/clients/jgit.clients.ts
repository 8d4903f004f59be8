// JGit from Maven's repository: the jars that jars.txt names, each with the sum that it must have.
import { createHash } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { execa } from 'execa'
import { testClient } from '../helpers/client-behaviour.ts'
import { programClient } from '../helpers/git-clients.ts'
import { clientPart, NoPrograms, pinned, programs, source } from './parts.ts'

const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy'
const JAVA_PACKAGES = ['default-jdk-headless', 'maven']

const version = await pinned('jgit/jars.txt', /:org\.eclipse\.jgit:(\S+)$/m)
const name = `JGit ${version}`
try {
  const tools = await programs(['java', 'javac', 'mvn'], JAVA_PACKAGES)
  const folder = await jgit(tools)
  const command = [tools.java, '-cp', `${folder}/classes:${folder}/jars/*`, 'Push'] as const
  testClient(programClient({ name, sendsOptions: true, command }))
} catch (error) {
  if (!(error instanceof NoPrograms)) throw error
  test(name, { skip: error.message }, () => {})
}

function jgit({ javac, mvn }: { javac: string; mvn: string }): Promise<string> {
  return clientPart({
    name: 'jgit',
    title: `${name} from Maven's repository, about 30 s`,
    async build(into) {
      const jars = join(into, 'jars')
      await mkdir(jars)
      const repository = join(into, 'repository')
      for (const pin of (await readFile(source('jgit/jars.txt'), 'utf8')).trim().split('\n')) {
        const [sum = '', artifact = ''] = pin.split(' ')
        const settings = { artifact, outputDirectory: jars, 'maven.repo.local': repository }
        const flags = Object.entries(settings).map(([key, value]) => `-D${key}=${value}`)
        await execa(mvn, ['--quiet', '--batch-mode', COPY, ...flags])
        const [, id = '', version = ''] = artifact.split(':')
        await check(join(jars, `${id}-${version}.jar`), sum)
      }
      await rm(repository, { recursive: true })
      const classes = join(into, 'classes')
      await execa(javac, ['-cp', join(jars, '*'), '-d', classes, source('jgit/Push.java')])
    },
  })
}

async function check(jar: string, sum: string): Promise<void> {
  const found = createHash('sha256')
    .update(await readFile(jar))
    .digest('hex')
  if (found !== sum)
    throw new Error(`${jar} has the sum ${found}, not ${sum}: it was tampered with`)
}
