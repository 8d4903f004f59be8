import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAuthority, parseTarget } from '../../../server/egress/target.ts'

test('CONNECT names a host and a port', () => {
  const brief = (text: string) => {
    const target = parseAuthority(text)
    return target && [target.host, target.port]
  }
  assert.deepEqual(brief('example.com:443'), ['example.com', 443])
  assert.deepEqual(brief('[::1]:80'), ['::1', 80])
  for (const text of [
    ...['', 'example.com', ':443', 'example.com:', 'example.com:0', 'example.com:65536'],
    ...['a b:443', 'http://a:443', 'a:443/x', 'user@a:443', '::1:80', '[a:80', '[example]:80'],
  ]) {
    assert.equal(brief(text), undefined, text)
  }
})

test('a plain request names an http URL', () => {
  assert.deepEqual(parseTarget('http://Example.com/a?b=c'), {
    host: 'example.com',
    port: 80,
    authority: 'example.com',
    path: '/a?b=c',
  })
  assert.deepEqual(parseTarget('http://[::1]:8080'), {
    host: '::1',
    port: 8080,
    authority: '[::1]:8080',
    path: '/',
  })
  for (const text of ['/a', '', '*', 'https://a/', 'ftp://a/', 'file:///etc/passwd', 'http://']) {
    assert.equal(parseTarget(text), undefined, text)
  }
})

test('addresses in disguise are addresses', () => {
  for (const host of ['2130706433', '0x7f000001', '0177.0.0.1', '127.1', '①②⑦.0.0.1']) {
    assert.equal(parseTarget(`http://${host}/`)?.host, '127.0.0.1', host)
  }
})
