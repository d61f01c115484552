// A WebTransport whose streams and datagrams the test writes.
import { env } from '../../build/env.js'
import { begin } from './world.mjs'

const bytes = (v) => new TextEncoder().encode(JSON.stringify(v))

/** A message as it is on a stream: behind its length. */
export function framed(v) {
  const body = bytes(v)
  const head = []
  let n = body.length
  for (; n > 127; n >>= 7) head.push((n & 127) | 128)
  return new Uint8Array([...head, n, ...body])
}

/** Lets streams move, which need turns of the event loop. */
export const turn = async () => {
  for (let i = 0; i < 4; i++) await new Promise(setImmediate)
}

const source = () => {
  let to
  const readable = new ReadableStream({ start: (c) => (to = c) })
  return { readable, write: (chunk) => to.enqueue(chunk), end: () => to.close() }
}

/** Puts it in the place of the platform's; returns those that were made. */
export function fakeTransports({ ready = Promise.resolve() } = {}) {
  const all = []
  env.WebTransport = class {
    closed = new Promise((end) => (this.end = (how = {}) => end(how)))
    ready = ready
    sent = []
    control = source()
    unidirectional = source()
    packets = source()
    incomingUnidirectionalStreams = this.unidirectional.readable
    datagrams = this.packets
    constructor(url, options) {
      Object.assign(this, { url, options })
      all.push(this)
    }
    async createBidirectionalStream() {
      const { sent } = this
      const writable = new WritableStream({
        write(b) {
          let at = 0
          while (b[at++] > 127);
          sent.push(JSON.parse(new TextDecoder().decode(b.subarray(at))))
        },
      })
      return { readable: this.control.readable, writable }
    }
    close() {
      this.closed_ = true
    }
    /** The test: the relay says these frames on the control stream. */
    say(...frames) {
      this.control.write(framed(frames))
      return turn()
    }
    /** The test: a datagram. */
    datagram(frame) {
      this.packets.write(bytes(frame))
      return turn()
    }
    /** The test: a stream of the relay's; the result says frames on it. */
    async stream() {
      const s = source()
      this.unidirectional.write(s.readable)
      await turn()
      return (...frames) => (s.write(framed(frames)), turn())
    }
    /** The test: the relay welcomes, and grants on the control stream what it is asked for. */
    async welcome(more = {}) {
      await turn()
      const [hello] = this.sent
      await this.say({ t: 'welcome', version: 1, session: 's', region: 'r' }, ...hello.subs.map((s) => ({ t: 'subbed', ref: s.ref, channel: s.channel, cursor: s.cursor ?? begin, ...more })))
      return hello
    }
  }
  return all
}
