// A number of bytes as people read it.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** `700.1 MiB` */
export function sizeText(bytes: number): string {
  const step = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  const size = bytes / 1024 ** step
  return `${step === 0 ? size : size.toFixed(1)} ${UNITS[step]}`
}
