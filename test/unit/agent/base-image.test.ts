// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of Dockerfiles
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BaseQuestion, completeName, finalBase } from '../../../agent/base-image.ts'

const ask = (dockerfile: string, more: Partial<BaseQuestion> = {}) =>
  finalBase({ dockerfile, platform: 'linux/amd64', ...more })

test('the base is that of the last stage, through stages that begin with another', () => {
  assert.equal(ask('FROM node:20\nRUN x\n'), 'node:20')
  assert.equal(ask('FROM golang AS Build\nFROM alpine:3 as run\nFROM build\nFROM run'), 'alpine:3')
  assert.equal(ask('from a AS one\r\nfrom one AS two\r\nFROM two\r\n'), 'a')
  assert.equal(ask('FROM a AS x\nFROM x AS x\nFROM x'), 'a')
  assert.equal(ask('FROM scratch'), 'scratch')
})

test('a target is meant by its name, in any case', () => {
  const dockerfile = 'FROM a AS Dev\nFROM b AS prod\nFROM c'
  assert.equal(ask(dockerfile, { target: 'dev' }), 'a')
  assert.equal(ask(dockerfile, { target: 'PROD' }), 'b')
  assert.throws(() => ask(dockerfile, { target: 'test' }), /no stage test/)
})

test('arguments before the first FROM count, build arguments win, later ones do not count', () => {
  const dockerfile = 'ARG REG=r.io/x V="1 2" T\nARG N=${REG}/n:$V\nFROM $N\nARG N=other\n'
  assert.equal(ask(dockerfile), 'r.io/x/n:1 2')
  assert.equal(ask(dockerfile, { buildArgs: { V: '3' } }), 'r.io/x/n:3')
  assert.equal(ask('FROM node:$V', { buildArgs: { V: '3' } }), 'node:', 'undeclared')
  assert.equal(ask('ARG V\nFROM node:${V:-20}', { buildArgs: {} }), 'node:20')
  assert.equal(ask('ARG V\nFROM node:${V:-20}', { buildArgs: { V: '' } }), 'node:20')
  assert.equal(ask('ARG V\nFROM node${V:+:$V-slim}', { buildArgs: { V: '18' } }), 'node:18-slim')
  assert.equal(ask('ARG A=x\nARG B=${A-y}${C-z}\nFROM $B'), 'xz')
  assert.equal(ask('FROM base-$TARGETARCH'), 'base-amd64')
  assert.throws(() => ask('ARG V\nFROM a:${V:?missing}'), /V: missing/)
  assert.throws(() => ask('ARG V=abc\nFROM a:${V#a}'), /not known here/)
})

test('quotes and escapes are read as by a shell', () => {
  assert.equal(ask(`FROM "node:20"`), 'node:20')
  assert.equal(ask(`ARG V='$X'\nFROM a:$V`), 'a:$X')
  assert.equal(ask(`ARG V="a\\"b"\nFROM x:$V`), 'x:a"b')
  assert.equal(ask('ARG V=\\$x\nFROM a:$V'), 'a:$x')
})

test('flags, comments, continued lines and the escape directive are understood', () => {
  const dockerfile = [
    '\uFEFF# syntax=docker/dockerfile:1',
    '# escape=`',
    '# FROM commented',
    'FROM --platform=$BUILDPLATFORM `',
    '  # in between',
    '',
    '  node:20 `  ',
    '  AS build',
    'RUN dir C:\\',
    'FROM build',
  ]
  assert.equal(ask(dockerfile.join('\n')), 'node:20')
  assert.equal(ask('RUN x\n# escape=`\nFROM \\\n  a'), 'a', 'a directive only counts at the top')
})

test('what a here-document says is no instruction', () => {
  const dockerfile = [
    'FROM real',
    'RUN <<EOF cat',
    'FROM evil',
    'EOF',
    "COPY <<-'A' <<B /x/",
    'FROM evil',
    '\tA',
    'FROM evil',
    'B',
    'ONBUILD RUN << "END"',
    'FROM evil',
    'END',
    'ENV X=<<NOT',
  ]
  assert.equal(ask(dockerfile.join('\n')), 'real')
  assert.equal(ask(`${dockerfile.join('\n')}\nFROM last`), 'last')
})

test('a Dockerfile without a base says so', () => {
  assert.throws(() => ask('RUN x'), /no FROM/)
  assert.throws(() => ask('FROM $NOTHING'), /base image is empty/)
})

test('a short name is completed as BuildKit does it', () => {
  const digest = `sha256:${'a'.repeat(64)}`
  const names = {
    node: 'docker.io/library/node:latest',
    'node:20': 'docker.io/library/node:20',
    'ada/app': 'docker.io/ada/app:latest',
    'docker.io/node:1': 'docker.io/library/node:1',
    'index.docker.io/ada/app:1': 'docker.io/ada/app:1',
    'localhost/app': 'localhost/app:latest',
    'localhost:5000/library/base:1': 'localhost:5000/library/base:1',
    'ghcr.io/a/b/c': 'ghcr.io/a/b/c:latest',
  }
  for (const [ref, name] of Object.entries(names)) {
    assert.deepEqual(completeName(ref), { name, digest: undefined })
  }
  assert.deepEqual(completeName(`node:20@${digest}`), { name: 'docker.io/library/node:20', digest })
  assert.deepEqual(completeName(`node@${digest}`), { name: 'docker.io/library/node', digest })
})
