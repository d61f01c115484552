import type { Transport } from './api.js'
import { env, type Refused } from './env.js'
import type { Feed } from './feed.js'
import { Link, connectTimeout } from './link.js'
import { lossOfAnswer, lossOfClose } from './loss.js'
import type { Machine } from './machine.js'
import { recall } from './memory.js'
import { probe } from './race.js'
import type { Request } from './request.js'
import type { Frame } from './wire.js'

/** A connection that carries messages of frames both ways. */
export interface Pipe {
  send(text: string): void
  close(): void
}

/** What a pipe tells. */
export interface Ends {
  open(): void
  /** apart: not in order with most others. */
  text(message: string, apart?: unknown): void
  closed(code: number, reason: string, refused?: Refused): void
}

/** Opens a pipe to a relay. It may be closed before it is open. */
export type Dial = (base: string, ends: Ends) => Pipe

/** A WebSocket (PROTOCOL §1.3). */
export const dialSocket: Dial = (base, ends) => {
  const ws = new env.WebSocket!(`ws${base.slice(4)}/v1/ws`, ['chappe.v1.json'])
  ws.onopen = ends.open
  ws.onmessage = (e) => ends.text(e.data)
  ws.onclose = (e) => ends.closed(e.code, e.reason, ws.refused)
  return {
    send: (text) => ws.send(text),
    close() {
      ws.onopen = ws.onmessage = ws.onclose = null
      ws.close(1000)
    },
  }
}

/** The link over a pipe: one hello with all subscriptions, and frames both ways (CLIENTS §2). */
export class SocketLink extends Link {
  private pipe: Pipe | undefined
  private refreshing = 0

  constructor(
    m: Machine,
    kind: Transport,
    base: string,
    private readonly dial: Dial,
  ) {
    super(m, kind, base)
  }

  start(): void {
    this.after('connect', this.kind === 'tab' ? 3000 : connectTimeout, () => this.live || this.fail('no answer in time', { mute: true }))
    this.connect().catch((error) => this.end({ error, mute: true }))
  }

  private async connect(): Promise<void> {
    // The token first: a connection that waits for one would be closed.
    const shown = this.kind === 'tab' ? {} : await this.m.auth.show()
    if (this.kind === 'wt' && !recall(this.base).hashes) await probe(this.base)
    if (this.ended) return
    this.pipe = this.dial(this.base, {
      open: () => {
        const subs = this.m.wants().map((feed) => this.wish(feed))
        this.send({ t: 'hello', version: 1, ...shown, subs, agent: this.m.o.agent })
      },
      text: this.read,
      closed: (code, reason, refused) => {
        if (refused) return this.end(lossOfAnswer(refused.status, refused.body, refused.retryAfter))
        this.end({ ...lossOfClose(code, reason, this.last), mute: !this.live && code === 1006 })
      },
    })
  }

  /** The sub frame that puts a feed where it stood. */
  private wish(feed: Feed): object {
    const ref = this.m.nextRef()
    this.subs.set(feed, { ref, terms: feed.terms })
    const cursor = feed.cursor() || undefined
    return {
      ref,
      channel: feed.name,
      cursor,
      last: cursor || feed.began ? undefined : feed.wish('last'),
      policy: feed.wish('policy'),
      presence: feed.wish('presence'),
      pass: feed.pass || undefined,
      via: feed.wish('via'),
    }
  }

  private send(f: object): void {
    if (!this.ended) this.pipe?.send(JSON.stringify(f))
  }

  private readonly read = (message: string, apart?: unknown): void => {
    this.heard()
    try {
      for (const f of [JSON.parse(message)].flat() as Frame[]) if (!this.ended) this.frame(f, apart)
    } catch (e) {
      this.fail(`cannot be read: ${(e as Error).message}`)
    }
  }

  private frame(f: Frame, apart: unknown): void {
    if (f.t === 'ping') this.send({ t: 'pong' })
    else if (f.t === 'x-state') this.m.mirror(f.state)
    else if (f.t === 'x-progress') this.progressed(f.cursor, f.channel)
    else if (f.ref && f.ref === this.refreshing) {
      if (f.t !== 'ack') return
      this.m.auth.accepted('', f.expires)
      this.renew(f.expires)
    } else this.handle(f, apart)
  }

  sync(): void {
    const wanted = this.m.wants()
    for (const [feed, sub] of this.subs) if (!wanted.includes(feed) || sub.terms !== feed.terms) this.leave(feed)
    for (const feed of wanted) {
      if (!this.subs.has(feed)) this.send({ t: 'sub', ...this.wish(feed) })
    }
  }

  private leave(feed: Feed): void {
    this.subs.delete(feed)
    this.send({ t: 'unsub', channel: feed.name })
  }

  drop(feed: Feed): void {
    if (this.subs.has(feed)) this.leave(feed)
    this.sync()
  }

  ask(r: Request): void {
    this.send(r.frame)
  }

  protected refresh(token: string): void {
    this.refreshing = this.m.nextRef()
    this.send({ t: 'refresh', ref: this.refreshing, token })
  }

  /** Leaves a channel that it does not follow: any answer is life. */
  check(): void {
    const asked = env.now()
    this.send({ t: 'unsub', ref: this.m.nextRef(), channel: 'alive' })
    this.after('check', 3000, () => this.heardAt >= asked || this.fail('no sign of life', { silent: true }))
  }

  protected shut(): void {
    this.pipe?.close()
  }
}
