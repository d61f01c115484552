import type { State, SubOptions } from './api.js'
import { env } from './env.js'
import { ChappeError } from './errors.js'
import type { Consumer } from './feed.js'
import type { Machine } from './machine.js'
import { Trail } from './position.js'
import type { Dial } from './socket.js'
import type { Frame } from './wire.js'

/** What tabs post: frames for the one that leads (to: ''), for one that follows, or to all that there is a new lead. */
interface Post {
  to?: string
  from?: string
  text?: string
}

const beat = 5000 // ms between two questions whether the leading tab lives

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
  private readonly id = Math.random().toString(36)
  private readonly air: BroadcastChannel
  private readonly guests = new Map<string, Guest>()
  private inbox: ((text: string) => void) | undefined // of the present way to the leader
  private queued = new AbortController()
  private over = () => {} // lets go of the locks
  private closed = false

  constructor(
    private readonly m: Machine,
    private readonly name: string,
  ) {
    this.air = new env.BroadcastChannel!(name)
    this.air.onmessage = (e) => this.hear(e.data)
    const held = new Promise<void>((r) => (this.over = r))
    // Free when this tab is gone: who leads waits for it.
    void env.locks!.request(name + this.id, () => held)
    this.ready = new Promise((known) => {
      this.lock({ ifAvailable: true }, (lock) => {
        known()
        if (lock) return this.lead(held)
        this.follower = true
        return void this.queue({})
      })
    })
  }

  private lock(o: LockOptions, f: (lock: Lock | null) => Promise<void> | void): void {
    const { signal } = this.queued
    env.locks!.request(this.name, o.steal || o.ifAvailable ? o : { signal }, f).catch(() => {
      if (!signal.aborted) this.deposed()
    })
  }

  private queue(o: LockOptions): void {
    this.queued.abort()
    this.queued = new AbortController()
    const held = new Promise<void>((r) => {
      const { over } = this
      this.over = () => (r(), over())
    })
    this.lock(o, () => this.lead(held))
  }

  private lead(held: Promise<void>): Promise<void> {
    if (this.follower) this.m.handover()
    this.follower = false
    this.send({})
    return held
  }

  /** Another tab took the lead: it had heard nothing from this one for too long. */
  private deposed(): void {
    if (this.closed) return
    this.follower = true
    for (const id of this.guests.keys()) this.bye(id)
    this.m.handover()
    this.queue({})
  }

  /** Takes the lead from a tab that does not answer. */
  steal(): void {
    this.queue({ steal: true })
  }

  private send(p: Post): void {
    if (!this.closed) this.air.postMessage(p)
  }

  private hear({ to, from = '', text = '' }: Post): void {
    if (to === this.id) this.inbox?.(text)
    else if (to === undefined && this.follower) this.m.handover()
    else if (to === '' && !this.follower) {
      const f: Frame = JSON.parse(text)
      if (f.t === 'hello' || f.t === 'x-bye') this.bye(from)
      if (f.t === 'hello') {
        this.guests.set(from, new Guest(this.m, (g) => this.send({ to: from, text: JSON.stringify(g) })))
        void env.locks!.request(name(this, from), () => this.bye(from))
      }
      this.guests.get(from)?.serve(f)
    }
  }

  private bye(id: string): void {
    this.guests.get(id)?.leave()
    this.guests.delete(id)
  }

  /** The way to the tab that leads. */
  readonly dial: Dial = (_base, ends) => {
    const inbox = (this.inbox = ends.text)
    const send = (text: string) => this.send({ to: '', from: this.id, text })
    const ask = () =>
      env.after(beat, () => {
        if (this.inbox !== inbox) return
        if (!env.hidden()) this.m.link?.check()
        ask()
      })
    ask()
    queueMicrotask(ends.open)
    return {
      send,
      close: () => {
        if (this.inbox !== inbox) return
        this.inbox = undefined
        send('{"t":"x-bye"}')
      },
    }
  }

  /** Tells the tabs that follow how the connection stands. */
  tell(s: State): void {
    for (const g of this.guests.values()) g.tell(s)
  }

  close(): void {
    this.send({ to: '', from: this.id, text: '{"t":"x-bye"}' })
    this.closed = true
    this.queued.abort()
    this.over()
    this.air.close()
  }
}

const name = (tabs: Tabs, id: string) => tabs['name'] + id

/** Another tab, at the one that leads: it sees a relay. */
class Guest {
  private readonly subs = new Map<string, Remote>()
  private readonly gone = new AbortController()

  constructor(
    private readonly m: Machine,
    private readonly send: (f: Frame) => void,
  ) {}

  serve({ t, ref, ...rest }: Frame): void {
    const refuse = (e: ChappeError) => this.send({ t: 'err', ref, code: e.code ?? 'internal', text: e.message, retry_ms: e.retryMs })
    if (t === 'hello') {
      this.send({ t: 'welcome', session: this.m.link?.session })
      this.tell(this.m.state)
      for (const s of rest.subs) this.follow(s)
    } else if (t === 'sub') this.follow(rest, ref)
    else if (t === 'unsub') {
      if (ref) refuse(new ChappeError('not_subscribed'))
      else this.part(rest.channel)
    } else if (t !== 'x-bye') {
      this.m.request({ t, ...rest }, this.gone.signal).then(
        (a) => this.send({ ...a, ref }),
        (e) => this.gone.signal.aborted || refuse(e),
      )
    }
  }

  private follow({ channel, ...o }: any, ref = o.ref): void {
    this.part(channel)
    const sub = new Remote(channel, o, (f) => this.send({ channel, ref: f.t === 'msg' ? undefined : ref, ...f }))
    this.subs.set(channel, sub)
    try {
      if (o.cursor) sub.begin(o.cursor)
      this.m.join(channel, sub)
    } catch (e) {
      sub.end(e as Error)
    }
  }

  private part(channel: string): void {
    const sub = this.subs.get(channel)
    if (sub) this.m.part(channel, sub)
    this.subs.delete(channel)
  }

  tell({ error, ...s }: State): void {
    if (s.phase !== 'closed') this.send({ t: 'x-state', state: { ...s, error: error?.message } })
  }

  leave(): void {
    this.gone.abort()
    for (const channel of this.subs.keys()) this.part(channel)
  }
}

/** A subscription of another tab. */
class Remote implements Consumer {
  readonly got: Trail
  paused = false
  private told = false

  constructor(
    name: string,
    readonly o: SubOptions,
    private readonly send: (f: Frame) => void,
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
    if (this.told) this.send({ t: 'x-progress', cursor })
  }

  granted(): void {
    if (!this.told) this.send({ t: 'subbed', cursor: this.o.cursor || this.got.cursor() })
    this.told = true
  }

  end({ code = 'internal', message: text }: any): void {
    if (code !== 'closed') this.send(this.told ? { t: 'unsubbed', ref: undefined, code, text } : { t: 'err', code, text })
  }
}
