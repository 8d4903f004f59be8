// Build output on its way to a terminal: whole lines of plain text. git hides or shows oddly what is not.

const LINE_LENGTH_MAX = 1000
const ESCAPE_SEQUENCES =
  // CSI, OSC (ended by BEL or ST), and two-character escapes
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g

export function sanitizeLine(line: string): string {
  // What a carriage return would have overwritten is not shown.
  const shown = line.replace(/\r+$/, '').split('\r').at(-1) ?? ''
  const plain = shown.replace(ESCAPE_SEQUENCES, '').replace(CONTROLS, '')
  return plain.length > LINE_LENGTH_MAX ? `${plain.slice(0, LINE_LENGTH_MAX)} …` : plain
}
