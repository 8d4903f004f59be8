// A report of the retention for people: a line for each thing, then the sums.
import type { WireReport } from './wire-report.ts'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

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

function sizeText(bytes: number): string {
  const step = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  const size = bytes / 1024 ** step
  return `${step === 0 ? size : size.toFixed(1)} ${UNITS[step]}`
}
