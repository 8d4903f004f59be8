// A report of the retention for people: a line for each thing, then the sums.
import { sizeText } from '../size-text.ts'
import type { WireReport } from './wire-report.ts'

export function renderReport(report: WireReport): string {
  const { deleted, totals, failures, builders, dry_run: isDry } = report
  const sums = Object.entries(totals).filter(([, { count }]) => count > 0)
  const named = sums.reduce((sum, [, { count }]) => sum + count, 0) - deleted.length
  return [
    ...deleted.map(({ kind, name, reason, bytes }) =>
      [kind.padEnd(6), name, `(${reason})`, ...(bytes ? [sizeText(bytes)] : [])].join(' '),
    ),
    ...(named > 0 ? [`… and ${named} more`] : []),
    ...failures.map(({ kind, name, message }) => `failed: ${kind} ${name}: ${message}`),
    `${isDry ? 'would delete' : 'deleted'}: ${sums.map(sumText).join(', ') || 'nothing'}`,
    `disks of builders: ${builders.disks}, ${sizeText(builders.bytes)}`,
  ].join('\n')
}

function sumText([kind, { count, bytes }]: [string, { count: number; bytes: number }]): string {
  return `${count} ${kind}${count === 1 ? '' : 's'}${bytes > 0 ? ` (${sizeText(bytes)})` : ''}`
}
