// Examples of the API document come from the schemas themselves: `.meta({ examples })` on what has a name,
// and a list is shown as a list of one.
import { z } from 'zod'

export function examplesOf(schema: z.ZodType): unknown[] {
  const { examples } = z.globalRegistry.get(schema) ?? {}
  if (Array.isArray(examples)) return examples
  if (schema instanceof z.ZodArray) {
    return examplesOf(schema.element as z.ZodType).map((example) => [example])
  }
  return []
}
