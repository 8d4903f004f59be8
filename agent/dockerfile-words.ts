// Words of a Dockerfile as BuildKit's shell lexer reads them: quotes, escapes, variables with their defaults.

export interface WordOptions {
  /** `\`, or what the `# escape=` line says. */
  escapeChar: string
  variables: ReadonlyMap<string, string>
}

/** Splits at blanks outside of quotes; quotes and escapes stay as they are. */
export function splitWords(text: string, escapeChar: string): string[] {
  const words: string[] = []
  let word = ''
  let quote = ''
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i]!
    if (char === escapeChar && quote !== "'" && i + 1 < text.length) {
      word += char + text[i + 1]
      i += 1
    } else if (quote === '' && /\s/.test(char)) {
      if (word !== '') words.push(word)
      word = ''
    } else {
      if (quote === '' && (char === '"' || char === "'")) quote = char
      else if (char === quote) quote = ''
      word += char
    }
  }
  if (word !== '') words.push(word)
  return words
}

/** The value of a word. Throws where BuildKit would, and for the few substitutions that are not known here. */
export function expandWord(word: string, options: WordOptions): string {
  const reader = { text: word, at: 0 }
  return expandUntil(reader, '', options)
}

interface Reader {
  text: string
  at: number
}

/** Up to the stop character outside of quotes, or to the end. */
function expandUntil(reader: Reader, stop: string, options: WordOptions): string {
  let value = ''
  let quote = ''
  while (reader.at < reader.text.length) {
    const char = reader.text[reader.at]!
    if (quote === '' && char === stop) {
      reader.at += 1
      return value
    }
    if (char === '$' && quote !== "'") {
      value += expandVariable(reader, options)
      continue
    }
    reader.at += 1
    if (char === options.escapeChar && quote !== "'") {
      const next = reader.text[reader.at] ?? ''
      // Between double quotes only these are escaped.
      const isLiteral = quote === '"' && next !== '"' && next !== '$' && next !== options.escapeChar
      value += isLiteral ? char : next
      if (!isLiteral) reader.at += 1
    } else if (quote === '' && (char === '"' || char === "'")) quote = char
    else if (char === quote) quote = ''
    else value += char
  }
  if (quote !== '') throw new Error(`${reader.text} has a ${quote} without its end`)
  if (stop !== '') throw new Error(`${reader.text} has no ${stop}`)
  return value
}

function expandVariable(reader: Reader, options: WordOptions): string {
  const rest = reader.text.slice(reader.at)
  const plain = /^\$([A-Za-z_][A-Za-z0-9_]*|[0-9@*#])/.exec(rest)
  if (plain) {
    reader.at += plain[0].length
    return options.variables.get(plain[1]!) ?? ''
  }
  const braced = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(\}|:?[-+?])/.exec(rest)
  if (!braced) {
    if (rest.startsWith('${')) throw new Error(`${rest} is a substitution that is not known here`)
    reader.at += 1
    return '$'
  }
  const [all, name, operator] = braced as unknown as [string, string, string]
  reader.at += all.length
  const value = options.variables.get(name)
  if (operator === '}') return value ?? ''
  const alternative = expandUntil(reader, '}', options)
  const isSet = value !== undefined && !(operator.startsWith(':') && value === '')
  if (operator.endsWith('+')) return isSet ? alternative : ''
  if (isSet) return value
  if (operator.endsWith('?')) throw new Error(`${name}: ${alternative || 'is not set'}`)
  return alternative
}
