/** A frame of either side in its JSON form (PROTOCOL §4.1): members that are zero are left out, and read where the frame's name is known. */
export interface Frame {
  t: string
  ref?: number
  [member: string]: any
}

/** A payload in the JSON form: bytes travel as base64, all else as JSON (PROTOCOL §4.2). */
export function enclose(data: unknown): { data?: unknown; enc?: string } {
  const bytes =
    data instanceof ArrayBuffer ? new Uint8Array(data) : ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : undefined
  if (!bytes) return { data }
  let text = ''
  for (const b of bytes) text += String.fromCharCode(b)
  return text ? { data: btoa(text), enc: 'base64' } : {}
}

/** The bytes of base64 text. */
export const bytesOf = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

/** What matches the channels that a pattern stands for (PROTOCOL §2). */
export const patternOf = (pattern: string): RegExp =>
  new RegExp(`^${pattern.replace(/\./g, '\\.').replace(/\*/g, '[^.]+').replace('>', '.+')}$`)
