import { env } from './env.js'
import type { Way } from './link.js'
import { recall } from './memory.js'
import type { Dial } from './socket.js'
import { bytesOf } from './wire.js'

/**
 * WebTransport: a control stream of messages behind their length (uint, LEB128);
 * streams and datagrams that the relay opens carry the channels that asked for
 * a way of their own. Without a sub-protocol it is all JSON.
 */
export const dialTransport: Dial = (base, ends, pinned) => {
  const { hashes = [], elsewhere = base } = recall(base)
  const believed = (pinned ?? hashes).map((h) => ({ algorithm: 'sha-256', value: bytesOf(h) }))
  const wt = new env.WebTransport(`${elsewhere}/v1/wt`, { serverCertificateHashes: believed })
  let writer: WritableStreamDefaultWriter<Uint8Array>
  let over = false
  const lost = ({ closeCode = 0, reason = '' } = {}) => {
    if (!over) ends.lost(closeCode || 1006, reason)
    over = true
  }
  const text = (b: Uint8Array, way?: Way) => over || ends.text(new TextDecoder().decode(b), way)
  const read = (stream: ReadableStream, way?: Way): Promise<any> => {
    let chunks: Uint8Array[] = []
    let held = 0
    let needed = 1 // bytes, until the next message is whole
    return each(stream, (chunk) => {
      chunks.push(chunk)
      held += chunk.length
      if (held < needed) return
      let all = new Uint8Array(held)
      held = 0
      for (const c of chunks) {
        all.set(c, held)
        held += c.length
      }
      for (;;) {
        let size = 0
        let at = 0
        do size += (all[at]! & 127) * 128 ** at
        while (all[at++]! > 127)
        needed = at + size // or more, while even the length is not whole
        if (held < needed) break
        text(all.subarray(at, needed), way)
        all = all.subarray(needed)
        held -= needed
      }
      chunks = [all]
    })
  }
  wt.closed.then(lost, lost)
  wt.ready
    .then(async () => {
      const control = await wt.createBidirectionalStream()
      writer = control.writable.getWriter()
      void read(control.readable).then(lost) // the relay has said why in its last frame
      each(wt.incomingUnidirectionalStreams, (s) => void read(s, s)) // all at once
      each(wt.datagrams.readable, (b) => text(b, true))
      if (!over) ends.open()
    })
    .catch(lost)
  return {
    send(message: string) {
      const body = new TextEncoder().encode(message)
      const head = []
      let n = body.length
      for (; n > 127; n >>= 7) head.push((n & 127) | 128)
      writer.write(new Uint8Array([...head, n, ...body])).catch(() => {})
    },
    close() {
      over = true
      wt.close({ closeCode: 1000 })
    },
  }
}

/** Calls write for all that comes. */
const each = (from: ReadableStream, write: (v: any) => void): Promise<any> => from.pipeTo(new WritableStream({ write })).catch(() => {})
