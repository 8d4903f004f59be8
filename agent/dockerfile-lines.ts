// A Dockerfile as instructions, by the rules of BuildKit's parser: escape directive, continuation lines,
// comments in between, here-documents.
import { splitWords } from './dockerfile-words.ts'

export interface Instruction {
  /** In upper case. */
  command: string
  /** Without flags such as `--platform=…`. */
  rest: string
}

export interface Dockerfile {
  escapeChar: string
  instructions: Instruction[]
}

const DIRECTIVE = /^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$/
const DIRECTIVES = new Set(['syntax', 'escape', 'check'])
const HEREDOC = /^\d*<<(-?)\s*([^<]+)$/
const WITH_HEREDOC = new Set(['RUN', 'COPY', 'ADD', 'ONBUILD'])

export function parseDockerfile(text: string): Dockerfile {
  const lines = text.replace(/^\uFEFF/, '').split('\n')
  const escapeChar = escapeOf(lines)
  const continued = new RegExp(escapeChar === '`' ? '(^|[^`])`[ \\t]*$' : '(^|[^\\\\])\\\\[ \\t]*$')
  const instructions: Instruction[] = []
  for (let at = 0; at < lines.length; ) {
    let line = ''
    let isOpen = true
    for (let first = true; isOpen && at < lines.length; at += 1) {
      const part = lines[at]!.replace(/\r+$/, '')
      if (isComment(part)) {
        if (first) isOpen = false
        continue
      }
      if (!first && part.trim() === '') continue
      isOpen = continued.test(part)
      line += (first ? part.trimStart() : part).replace(continued, '$1')
      first = false
    }
    if (line.trim() === '') continue
    const instruction = split(line)
    instructions.push(instruction)
    for (const heredoc of heredocsOf(instruction, line)) at = behind(lines, at, heredoc)
  }
  return { escapeChar, instructions }
}

function escapeOf(lines: readonly string[]): string {
  for (const line of lines) {
    const [, name = '', value = ''] = DIRECTIVE.exec(line.trim()) ?? []
    if (!DIRECTIVES.has(name.toLowerCase())) break
    if (name.toLowerCase() === 'escape') return value === '`' ? '`' : '\\'
  }
  return '\\'
}

function isComment(line: string): boolean {
  return line.trimStart().startsWith('#')
}

function split(line: string): Instruction {
  const [, command = '', rest = ''] = /^\s*(\S+)\s*([\s\S]*)$/.exec(line) ?? []
  return { command: command.toUpperCase(), rest: rest.replace(/^(?:--[a-z]+(?:=\S*)?\s+)+/, '') }
}

interface Heredoc {
  name: string
  chomp: boolean
}

function heredocsOf({ command }: Instruction, line: string): Heredoc[] {
  if (!WITH_HEREDOC.has(command) || !line.includes('<<')) return []
  const words = splitWords(line.replaceAll(/<<(-?)[ \t]+/g, '<<$1'), '\\')
  return words.flatMap((word) => {
    const [, chomp, name] = HEREDOC.exec(word) ?? []
    return name ? [{ name: name.replaceAll(/["'\\]/g, ''), chomp: chomp === '-' }] : []
  })
}

/** The line after the here-document's end. */
function behind(lines: readonly string[], start: number, { name, chomp }: Heredoc): number {
  for (let at = start; at < lines.length; at += 1) {
    const line = lines[at]!.replace(/\r+$/, '')
    if ((chomp ? line.replace(/^\t+/, '') : line) === name) return at + 1
  }
  return lines.length
}
