/** A frame of either side in its JSON form (PROTOCOL §4.1): members that are zero are left out, and read where the frame's name is known. */
export interface Frame {
  t: string
  ref?: number
  [member: string]: any
}

/** A payload in the JSON form: bytes travel as base64, all else as JSON (PROTOCOL §4.2). */
export function enclose(data: any): { data?: unknown; enc?: string } {
  if (!(data instanceof ArrayBuffer || ArrayBuffer.isView(data))) return { data }
  let text = ''
  const { buffer = data, byteOffset, byteLength } = data as Uint8Array<any>
  for (const b of new Uint8Array(buffer, byteOffset, byteLength)) text += String.fromCharCode(b)
  return text ? { data: btoa(text), enc: 'base64' } : {}
}

/** Reads JSON that may be anything. */
export function parse(text: any): any {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {} // of something on the way
  }
}

/** The bytes of base64 text. */
export const bytesOf = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

/** What matches the channels that a pattern, or a name, stands for (PROTOCOL §2); it matches its own text, too. */
export const patternOf = (pattern: string): RegExp =>
  new RegExp(`^${pattern.replace(/[^\w-]/g, (c) => (c === '*' ? '[^.]+' : c === '>' ? '.+' : `\\${c}`))}$`)
