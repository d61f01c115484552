import { env } from './env.js'
import type { Feed } from './feed.js'
import { Link, checking, type Way } from './link.js'
import { lossBy } from './loss.js'
import { recall, remember } from './memory.js'
import { probe } from './race.js'
import type { Request } from './request.js'
import { parse, type Frame } from './wire.js'
import { dialTransport } from './wt.js'

/** A connection that carries messages of frames both ways. */
export interface Pipe {
  send(text: string): void
  close(): void
}

/** What a pipe tells. */
export interface Ends {
  open(): void
  text(message: string, way?: Way): void
  lost(code: number, reason: string): void
}

/** Opens a pipe to a relay. It may be closed before it is open. pinned: SHA-256 of the certificates that are believed. */
export type Dial = (base: string, ends: Ends, pinned?: string[]) => Pipe

/** A WebSocket (PROTOCOL §1.3). */
export const dialSocket: Dial = (base, ends) => {
  const ws = new env.WebSocket!(`ws${base.slice(4)}/v1/ws`, ['chappe.v1.json'])
  ws.onopen = ends.open
  ws.onmessage = (e) => ends.text(e.data)
  ws.onclose = (e) => ends.lost(e.code, e.reason)
  return {
    send: (text) => ws.send(text),
    close() {
      ws.onopen = ws.onmessage = ws.onclose = null
      ws.close(1000)
    },
  }
}

const most = 100 // subscriptions of a hello, for a relay takes 256 KiB: with their cursors 1 KiB or two each; the rest is asked for behind the welcome

/** The link over a pipe: one hello with all subscriptions, and frames both ways (CLIENTS §2). */
export class SocketLink extends Link {
  private pipe?: Pipe

  start(): void {
    this.connect().catch((error) => this.end({ error, mute: true }))
  }

  private async connect(): Promise<void> {
    const { m, base, kind } = this
    this.within(kind === 'tab' && 3000)
    // The token first: a connection that waits for one would be closed.
    const shown = kind === 'tab' ? {} : await m.auth.show()
    if (kind === 'wt' && !recall(base).hashes && !(m.o.hashes && base[4] === 's')) await probe(base)
    if (this.ended) return
    const dial = kind === 'tab' ? m.tabs!.dial : kind === 'wt' ? dialTransport : dialSocket
    const ends: Ends = {
      open: () => this.say({ t: 'hello', version: 1, ...shown, subs: m.wants().slice(0, most).map((feed) => this.wish(feed)), agent: m.o.agent }),
      text: (message, way) => this.read(message, way),
      lost: (code, reason) => {
        const mute = !this.live && !this.last && code === 1006
        // Its certificate may be another one by now.
        if (mute && kind === 'wt') remember(base, { hashes: undefined })
        this.end({ ...lossBy(code, { ...parse(reason), ...this.last }), mute })
      },
    }
    this.pipe = dial(base, ends, m.o.hashes)
  }

  /** The sub frame that puts a feed where it stood. */
  private wish(feed: Feed): object {
    const ref = ++this.m.ref
    this.follows.set(feed, { ref, early: [], terms: feed.terms })
    const cursor = feed.cursor() || undefined
    return {
      ref,
      channel: feed.name,
      cursor,
      last: cursor || feed.began ? undefined : feed.wish('last'),
      policy: feed.wish('policy'),
      presence: feed.wish('presence'),
      pass: feed.pass,
      via: feed.wish('via'),
    }
  }

  private say(f: object): void {
    if (!this.ended) this.pipe?.send(JSON.stringify(f))
  }

  private read(message: string, way?: Way): void {
    this.heard()
    try {
      for (const f of [JSON.parse(message)].flat() as Frame[]) {
        if (this.ended) return
        if (f.t === 'ping') this.say({ t: 'pong' })
        else if (f.t === 'x-state') this.m.mirror(f.state)
        else this.handle(f, way)
      }
    } catch (e) {
      this.fail((e as Error).message) // it cannot be read
    }
  }

  sync(again?: Feed): void {
    const wanted = this.m.wants()
    for (const [feed, sub] of this.follows) {
      if (feed !== again && wanted.includes(feed) && sub.terms === feed.terms) continue
      this.follows.delete(feed)
      this.say({ t: 'unsub', channel: feed.name })
    }
    for (const feed of wanted) if (!this.follows.has(feed)) this.say({ t: 'sub', ...this.wish(feed) })
  }

  ask(r: Request): void {
    this.say(r.frame)
  }

  protected refresh(token: string): void {
    // No request: the next connection shows it anyway. Refused, the old one stays, and ends.
    this.say({ t: 'refresh', ref: ++this.m.ref, token })
  }

  /** Leaves a channel that it does not follow: any answer is life. */
  check(): void {
    const asked = env.now()
    this.say({ t: 'unsub', ref: ++this.m.ref, channel: '-' })
    this.after(checking, 3000, () => this.heardAt >= asked || this.fail('no answer', { silent: true }))
  }

  protected shut(): void {
    this.pipe?.close()
  }
}
