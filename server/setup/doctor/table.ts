// The doctor's table as plain aligned text, and below it the commands that repair. Pure.

export interface Row {
  name: string
  version: string
  /** Where it comes from: a path, a package, a user. */
  from: string
  /** Why it can't be used, in one line; undefined when all is well. */
  problem?: string
  /** The one command that repairs it. */
  repair?: string
  /** Without it no build runs; the rest makes an installation weaker or slower. */
  isNeeded: boolean
  /** What else is worth knowing. */
  notes?: string[]
}

export interface Section {
  title: string
  rows: Row[]
}

const INDENT = '  '

export function renderTable(sections: Section[]): string {
  const cells = sections.flatMap(({ rows }) => rows.map(cellsOf))
  const widths = [0, 1, 2].map((i) => Math.max(0, ...cells.map((row) => row[i]!.length)))
  const line = (row: string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  const lines: string[] = []
  for (const { title, rows } of sections) {
    lines.push(title)
    for (const row of rows) {
      lines.push(INDENT + line(cellsOf(row)))
      for (const note of row.notes ?? []) lines.push(`${INDENT}${INDENT}${note}`)
    }
    lines.push('')
  }
  return [...lines, ...repairs(sections)].join('\n')
}

function cellsOf({ name, version, from, problem, isNeeded }: Row): string[] {
  if (problem === undefined) return [name, version, from, 'ok']
  return [name, version, from, `${isNeeded ? 'NOT USABLE' : 'does not hold'}: ${problem}`]
}

/** Each command once, in the order of the table. */
function repairs(sections: Section[]): string[] {
  const broken = sections.flatMap(({ rows }) => rows).filter((row) => row.problem !== undefined)
  const commands = new Set(broken.flatMap(({ repair }) => (repair ? [repair] : [])))
  if (commands.size === 0) return []
  return ['To repair', ...[...commands].map((command) => INDENT + command), '']
}

/** Whether everything is there without which no build runs. */
export function isHealthy(sections: Section[]): boolean {
  return sections.every(({ rows }) => rows.every((row) => !row.isNeeded || !row.problem))
}
