import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { LOG_LINE_CHARS_MAX } from '../../../agent/limits.ts'
import { createOutputLines } from '../../../agent/output-lines.ts'

function linesOf(chunks: readonly Buffer[]): string[] {
  const lines: string[] = []
  const output = createOutputLines((line) => lines.push(line))
  for (const chunk of chunks) output.push(chunk)
  output.flush()
  return lines
}

test('where the chunks are cut makes no difference to the lines', () => {
  const texts = fc.array(fc.string({ unit: 'grapheme' }).filter((s) => !/[\r\n]/.test(s)))
  fc.assert(
    fc.property(texts, fc.array(fc.nat(200)), (lines, cuts) => {
      const whole = Buffer.from(lines.map((line) => `${line}\n`).join(''))
      const at = [0, ...cuts.map((cut) => Math.min(cut, whole.length)), whole.length]
      at.sort((a, b) => a - b)
      const chunks = at.slice(1).map((end, index) => whole.subarray(at[index], end))
      assert.deepEqual(linesOf(chunks), lines)
    }),
  )
})

test('a carriage return overwrites the line, one before the newline does not', () => {
  assert.deepEqual(linesOf([Buffer.from('10%\r20%\r100%\nwindows\r\nend\r')]), [
    '100%',
    'windows',
    'end',
  ])
  assert.deepEqual(linesOf([Buffer.from('windows\r'), Buffer.from('\n')]), ['windows'])
})

test('a progress bar without newlines takes no memory', () => {
  const lines: string[] = []
  const output = createOutputLines((line) => lines.push(line))
  for (let i = 0; i < 100_000; i += 1) output.push(Buffer.from(`\r${i} of 100000`))
  assert.deepEqual(lines, [])
  output.flush()
  assert.deepEqual(lines, ['99999 of 100000'])
})

test('an endless line is sent in pieces and nothing of it is lost', () => {
  const text = 'x'.repeat(2 * LOG_LINE_CHARS_MAX + 7)
  for (const chunks of [[Buffer.from(text)], [Buffer.from(`${text}\n`)]]) {
    const lines = linesOf(chunks)
    assert.equal(lines.join(''), text)
    assert.ok(lines.every((line) => line.length <= LOG_LINE_CHARS_MAX))
  }
})
