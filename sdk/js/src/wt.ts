import type { Dial, Ends } from './socket.js'

/**
 * WebTransport: a control stream of messages behind their length (uint, LEB128);
 * streams and datagrams that the relay opens carry the channels that asked for
 * a way of their own.
 */
export const dialTransport: Dial = async (m, base, ends) => {
  const hashes = m.hashes(base)?.map((h) => ({ algorithm: 'sha-256', value: Uint8Array.from(atob(h), (c) => c.charCodeAt(0)) }))
  const wt = new m.env.WebTransport(`${base}/v1/wt`, {
    protocols: ['chappe.v1.json'],
    ...(hashes?.length && { serverCertificateHashes: hashes }),
  })
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined
  let over = false
  const closed = (info?: { closeCode?: number; reason?: string }) => {
    if (over) return
    over = true
    ends.closed(info?.closeCode || 1006, info?.reason ?? '')
  }
  wt.closed.then(closed, () => closed())
  const pipe = {
    send(text: string) {
      const body = new TextEncoder().encode(text)
      const head: number[] = []
      let n = body.length
      for (; n > 127; n >>>= 7) head.push((n & 127) | 128)
      const out = new Uint8Array(head.length + 1 + body.length)
      out.set([...head, n])
      out.set(body, head.length + 1)
      writer?.write(out).catch(() => {})
    },
    close() {
      over = true
      wt.close({ closeCode: 1000, reason: '' })
    },
  }
  await wt.ready
  const control = await wt.createBidirectionalStream()
  writer = control.writable.getWriter()
  void messages(control.readable, ends)
  void each(wt.incomingUnidirectionalStreams, (stream) => void messages(stream as ReadableStream<Uint8Array>, ends))
  void each(wt.datagrams.readable, (b) => ends.text(new TextDecoder().decode(b as Uint8Array)))
  ends.open(pipe)
  return pipe
}

async function each(from: ReadableStream<unknown>, f: (v: unknown) => void): Promise<void> {
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

/** Reads messages off a byte stream. */
function messages(from: ReadableStream<Uint8Array>, ends: Ends): Promise<void> {
  let held = new Uint8Array(0)
  return each(from, (v) => {
    const chunk = v as Uint8Array
    const all = new Uint8Array(held.length + chunk.length)
    all.set(held)
    all.set(chunk, held.length)
    let at = 0
    for (;;) {
      let size = 0
      let head = at
      let unit = 1
      for (; head < all.length && all[head]! > 127; unit *= 128) size += (all[head++]! & 127) * unit
      if (head >= all.length) break
      size += all[head++]! * unit
      if (head + size > all.length) break
      ends.text(new TextDecoder().decode(all.subarray(head, head + size)))
      at = head + size
    }
    held = all.slice(at)
  })
}
