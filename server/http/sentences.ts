// What is wrong with a value, in the words of the person who sent it: for the checks of a schema that say
// nothing of their own.
import type { z } from 'zod'

const KINDS: Partial<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}

const PARTS: Partial<Record<string, string>> = { string: 'character', array: 'item' }

/** undefined: zod's own words will do. */
export function sentence(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${KINDS[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return `must be ${issue.values.map(String).join(' or ')}`
    case 'too_small':
      return bound(issue.origin, issue.inclusive ? 'at least' : 'more than', issue.minimum)
    case 'too_big':
      return bound(issue.origin, issue.inclusive ? 'at most' : 'less than', issue.maximum)
    case 'invalid_format':
      return issue.format === 'regex' ? undefined : `must be valid ${issue.format}`
    default:
      return undefined
  }
}

function bound(origin: string, comparison: string, limit: number | bigint): string {
  const part = PARTS[origin]
  if (part === undefined) return `must be ${comparison} ${limit}`
  if (comparison === 'at least' && limit === 1) return 'must not be empty'
  return `must have ${comparison} ${limit} ${part}${limit === 1 ? '' : 's'}`
}
