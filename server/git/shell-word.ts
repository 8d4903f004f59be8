// A word of a command that a person may paste: quoted where a shell would see more than the word in it.

export function shellWord(word: string): string {
  return /^[\p{L}\p{N}@%+=:,./_-]+$/u.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
