import { ChappeError, advice } from './errors.js'
import type { Consumer, SubOptions } from './feed.js'
import type { Machine, State } from './machine.js'
import { Trail } from './position.js'
import type { Dial } from './socket.js'
import type { Frame } from './wire.js'

/** What tabs post: frames for the one that leads, or for one that follows. */
interface Post {
  to?: string
  from?: string
  text?: string
  lead?: true
}

/**
 * One connection for all tabs of an origin (CLIENTS §10). The tab that holds a
 * lock has it and is the relay of the others: they speak the protocol with it,
 * over a BroadcastChannel, and resume at another tab, with their own cursors,
 * when it is gone.
 */
export class Tabs {
  follower = false
  /** Resolves when it is known who leads. */
  readonly ready: Promise<void>
  private readonly id = Math.random().toString(36).slice(2)
  private readonly post: BroadcastChannel
  private readonly guests = new Map<string, Guest>()
  private readonly locks: LockManager
  private inbox: (text: string) => void = () => {}
  private dials = 0
  private release = () => {}
  private queued = new AbortController()
  private over = false

  constructor(
    private readonly m: Machine,
    private readonly name: string,
  ) {
    this.locks = m.env.locks!
    this.post = new m.env.BroadcastChannel!(name)
    this.post.onmessage = (e) => this.hear(e.data)
    // Held as long as this tab lives: the one that leads waits for its end.
    void this.locks.request(this.lockOf(this.id), () => new Promise<void>(() => {})).catch(() => {})
    this.ready = new Promise((known) => {
      this.locks
        .request(name, { ifAvailable: true }, (lock) => {
          if (lock) return known(), this.lead()
          this.follower = true
          known()
          this.queue()
        })
        .catch(() => this.deposed())
    })
  }

  private lockOf(id: string): string {
    return `${this.name}/${id}`
  }

  private queue(steal = false): void {
    this.queued.abort()
    this.queued = new AbortController()
    const mine = this.queued
    this.locks
      .request(this.name, steal ? { steal } : { signal: mine.signal }, () => this.lead())
      .catch(() => mine.signal.aborted || this.deposed())
  }

  private lead(): Promise<void> | undefined {
    if (this.over) return undefined
    const was = this.follower
    this.follower = false
    if (was) this.m.handover()
    this.send({ lead: true })
    return new Promise((r) => (this.release = r))
  }

  /** Another tab took the lead: it had heard nothing from this one for too long. */
  private deposed(): void {
    if (this.over) return
    this.follower = true
    for (const g of this.guests.values()) g.leave()
    this.guests.clear()
    this.m.handover()
    this.queue()
  }

  /** Takes the lead from a tab that does not answer. */
  steal(): void {
    if (this.follower && !this.over) this.queue(true)
  }

  private send(p: Post): void {
    if (!this.over) this.post.postMessage(p)
  }

  private hear(p: Post): void {
    if (p.lead && this.follower) this.m.handover()
    else if (p.to === this.id) this.inbox(p.text!)
    else if (p.to === 'lead' && !this.follower) {
      let guest = this.guests.get(p.from!)
      for (const f of [JSON.parse(p.text!)].flat() as Frame[]) {
        if (f.t === 'hello' || f.t === 'x-bye') {
          guest?.leave()
          this.guests.delete(p.from!)
          if (f.t === 'x-bye') return
          guest = this.welcome(p.from!)
        }
        guest?.serve(f)
      }
    }
  }

  private welcome(from: string): Guest {
    const guest = new Guest(this.m, (f) => this.send({ to: from, text: JSON.stringify(f) }))
    this.guests.set(from, guest)
    // Granted when that tab is gone, in whatever way.
    void this.locks
      .request(this.lockOf(from), () => {
        if (this.guests.get(from) !== guest) return
        guest.leave()
        this.guests.delete(from)
      })
      .catch(() => {})
    return guest
  }

  /** The way to the tab that leads. */
  readonly dial: Dial = (m, _base, ends) => {
    const mine = ++this.dials
    const alive = () => {
      if (mine !== this.dials) return
      if (!m.env.hidden()) m.link?.check()
      m.env.after(5000, alive)
    }
    const pipe = {
      send: (text: string) => this.send({ to: 'lead', from: this.id, text }),
      close: () => {
        if (mine !== this.dials) return
        this.dials++
        this.inbox = () => {}
        pipe.send('{"t":"x-bye"}')
      },
    }
    this.inbox = ends.text
    m.env.after(5000, alive)
    ends.open(pipe)
    return pipe
  }

  /** Tells the tabs that follow how the connection stands. */
  tell(s: State): void {
    for (const g of this.guests.values()) g.tell(s)
  }

  close(): void {
    this.send({ to: 'lead', from: this.id, text: '{"t":"x-bye"}' })
    this.over = true
    this.queued.abort()
    this.release()
    this.post.close()
  }
}

/** Another tab, at the one that leads: it sees a relay. */
class Guest {
  private readonly subs = new Map<string, Remote>()
  private readonly gone = new AbortController()

  constructor(
    private readonly m: Machine,
    private readonly send: (f: Frame) => void,
  ) {}

  serve(f: Frame): void {
    const { t, ref, ...rest } = f
    switch (t) {
      case 'hello':
        this.send({ t: 'welcome', version: 1, session: this.m.link?.session })
        this.tell(this.m.state)
        for (const s of f.subs) this.follow(s)
        return
      case 'sub':
        return this.follow(f)
      case 'unsub':
        if (this.subs.has(f.channel)) this.part(f.channel)
        else if (ref) this.refuse(ref, new ChappeError('not_subscribed'))
        return
      case 'pub':
      case 'history':
      case 'presence':
        this.m.request({ t, ...rest }, this.gone.signal).then(
          (a) => this.send({ ...a, ref }),
          (e) => this.refuse(ref!, e),
        )
    }
  }

  private refuse(ref: number, e: ChappeError, channel?: string): void {
    if (!this.gone.signal.aborted) this.send({ t: 'err', ref, channel, code: e.code ?? 'internal', text: e.message, retry_ms: advice(e.retryMs) || undefined })
  }

  private follow(s: Omit<Frame, 't'>): void {
    this.part(s.channel)
    const { ref = 0, channel, cursor, last, policy, presence } = s
    const sub: Remote = new Remote(channel, { cursor, last, policy, presence }, this.send, ref, (e) => {
      this.subs.delete(channel)
      this.refuse(ref, e, channel)
    })
    this.subs.set(channel, sub)
    try {
      if (cursor) sub.begin(cursor)
      this.m.join(channel, sub)
    } catch (e) {
      sub.end(e as Error)
    }
  }

  private part(name: string): void {
    const sub = this.subs.get(name)
    if (sub) this.m.part(name, sub)
    this.subs.delete(name)
  }

  tell(s: State): void {
    if (s.phase !== 'closed' && s.phase !== 'idle') this.send({ t: 'x-state', state: { ...s, error: s.error?.message } })
  }

  leave(): void {
    this.gone.abort()
    for (const name of [...this.subs.keys()]) this.part(name)
  }
}

/** A subscription of another tab. */
class Remote implements Consumer {
  readonly got: Trail
  paused = false
  private told = false

  constructor(
    private readonly name: string,
    readonly o: SubOptions,
    private readonly send: (f: Frame) => void,
    private readonly ref: number,
    private readonly refused: (e: ChappeError) => void,
  ) {
    this.got = new Trail(name)
  }

  begin(cursor: string): void {
    this.got.begin(cursor)
  }

  push(f: Frame): void {
    this.granted() // what it brings counts from here on
    this.send({ ...f, ref: undefined })
  }

  progress(cursor: string): void {
    this.got.progress(cursor)
    if (this.told) this.send({ t: 'x-progress', channel: this.name, cursor })
  }

  granted(): void {
    if (this.told) return
    this.told = true
    this.send({ t: 'subbed', ref: this.ref, channel: this.name, cursor: this.o.cursor || this.got.cursor() })
  }

  end(e: Error): void {
    const no = e as ChappeError
    if (!this.told) this.refused(no)
    else if (no.code !== 'closed') this.send({ t: 'unsubbed', channel: this.name, code: no.code || 'internal', text: no.message })
  }
}
