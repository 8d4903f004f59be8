// What PostgreSQL can keep of a text: it holds no NUL, and its JSON no half of a surrogate pair.

export function storable(text: string): string {
  return text.replaceAll('\u0000', '').replaceAll(/\p{Surrogate}/gu, '\ufffd')
}
