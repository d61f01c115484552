import { env } from './env.js'
import { recall } from './memory.js'
import type { Dial } from './socket.js'
import { bytesOf } from './wire.js'

/**
 * WebTransport: a control stream of messages behind their length (uint, LEB128);
 * streams and datagrams that the relay opens carry the channels that asked for
 * a way of their own.
 */
export const dialTransport: Dial = (base, ends) => {
  const hashes = recall(base).hashes?.map((h) => ({ algorithm: 'sha-256', value: bytesOf(h) }))
  const wt = new env.WebTransport(`${base}/v1/wt`, { protocols: ['chappe.v1.json'], serverCertificateHashes: hashes })
  let writer: WritableStreamDefaultWriter<Uint8Array>
  let over = false
  const closed = ({ closeCode = 0, reason = '' } = {}) => {
    if (!over) ends.closed(closeCode || 1006, reason)
    over = true
  }
  const read = (stream: ReadableStream, apart?: unknown) => {
    let held: number[] | Uint8Array = []
    void each(stream, (chunk) => {
      let all = new Uint8Array([...held, ...chunk])
      for (;;) {
        let size = 0
        let at = 0
        do size += (all[at]! & 127) * 128 ** at
        while (all[at++]! > 127)
        if (!(at + size <= all.length)) break
        text(all.subarray(at, at + size), apart)
        all = all.subarray(at + size)
      }
      held = all
    })
  }
  const text = (b: Uint8Array, apart?: unknown) => over || ends.text(new TextDecoder().decode(b), apart)
  const pipe = {
    send(message: string) {
      const body = new TextEncoder().encode(message)
      const head = []
      let n = body.length
      for (; n > 127; n >>= 7) head.push((n & 127) | 128)
      void writer.write(new Uint8Array([...head, n, ...body])).catch(() => {})
    },
    close() {
      over = true
      wt.close({ closeCode: 1000 })
    },
  }
  wt.closed.then(closed, () => closed())
  wt.ready
    .then(async () => {
      const control = await wt.createBidirectionalStream()
      writer = control.writable.getWriter()
      read(control.readable)
      void each(wt.incomingUnidirectionalStreams, (s) => read(s, 1))
      void each(wt.datagrams.readable, (b) => text(b, 1))
      if (!over) ends.open()
    })
    .catch(() => closed())
  return pipe
}

async function each(from: ReadableStream, f: (v: any) => void): Promise<void> {
  const reader = from.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      f(value)
    }
  } catch {
    // the session ends, and says so elsewhere
  }
}
