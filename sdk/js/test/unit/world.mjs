// A world whose time, network, storage and page belong to the test.
import { env } from '../../build/env.js'
import { cursorOf, lift, positionOf } from '../../build/position.js'

/** Lets everything happen that needs no time. */
export const settle = async () => {
  for (let i = 0; i < 30; i++) await null
}

class Socket {
  constructor(world, url, protocols) {
    Object.assign(this, { world, url, protocols, sent: [], closed: undefined })
    world.sockets.push(this)
  }
  send(text) {
    this.sent.push(JSON.parse(text))
  }
  close(code) {
    this.closed = code
  }
  /** The test: the upgrade is done. */
  open() {
    this.onopen?.()
  }
  /** The test: the relay says these frames. */
  say(...frames) {
    this.onmessage?.({ data: JSON.stringify(frames) })
  }
  /** The test: the relay welcomes and grants all that it is asked for. */
  welcome(more = {}) {
    this.open()
    const hello = this.sent[0]
    this.say({ t: 'welcome', version: 1, session: 's', region: 'here', reconnect_ms: 1000, ...more })
    for (const s of hello.subs) this.say({ t: 'subbed', ref: s.ref, channel: s.channel, cursor: s.cursor ?? begin })
    return hello
  }
  /** The test: the connection ends. */
  drop(code = 1006, reason = {}) {
    this.onclose?.({ code, reason: JSON.stringify(reason) })
  }
}

/** The cursor behind message n of origin AQIDBAUGBwg. */
export const upTo = (n) => {
  const p = { ticks: new Map(), seqs: new Map() }
  lift(p, '\x01\x02\x03\x04\x05\x06\x07\x08', n)
  return cursorOf(p)
}
export const begin = upTo(1)
/** The message that a cursor is behind. */
export const tickOf = (cursor) => [...positionOf(cursor).ticks.values()][0]
export const msg = (channel, n) => ({ t: 'msg', channel, stamp: `AQIDBAUGBwg.${n}.${n}`, data: n })

export function newWorld({ random = 0.5 } = {}) {
  const timers = new Set()
  const saved = { ...env }
  const world = {
    at: 1_000_000_000_000,
    random,
    sockets: [],
    requests: [],
    stored: new Map(),
    page: new EventTarget(),
    hidden: false,
    /** Answers a request: a Response, or nothing for a network that fails. */
    answer: () => undefined,
    /** How many timers wait. */
    get timers() {
      return timers.size
    },
    get last() {
      return world.sockets.at(-1)
    },
    /** Lets time pass. */
    async pass(ms) {
      await settle()
      const until = world.at + ms
      for (;;) {
        const next = [...timers].sort((a, b) => a.at - b.at)[0]
        if (!next || next.at > until) break
        timers.delete(next)
        world.at = Math.max(world.at, next.at)
        next.f()
        await settle()
      }
      world.at = until
      await settle()
    },
    /** The page slept: time passes, and no timer came. */
    sleep(ms) {
      world.at += ms
    },
    fire: (name) => world.page.dispatchEvent(new Event(name)),
    end: () => Object.assign(env, saved),
  }
  Object.assign(env, {
    now: () => world.at,
    random: () => (typeof world.random === 'function' ? world.random() : world.random),
    after(ms, f) {
      const timer = { at: world.at + Math.max(0, ms), f }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    async fetch(url, o = {}) {
      world.requests.push({ url, ...o })
      o.signal?.throwIfAborted()
      const r = await world.answer(url, o)
      if (!r) throw new TypeError('the network fails')
      return r
    },
    WebSocket: function (url, protocols) {
      return new Socket(world, url, protocols)
    },
    WebTransport: undefined,
    storage: { getItem: (k) => world.stored.get(k) ?? null, setItem: (k, v) => world.stored.set(k, v) },
    locks: undefined,
    BroadcastChannel: undefined,
    page: world.page,
    hidden: () => world.hidden,
  })
  return world
}

export const json = (value, status = 200) => new Response(JSON.stringify(value), { status })
export const well = { version: 1, region: 'here', admit: true, load: 0 }
