import type { Transport } from './api.js'
import { env } from './env.js'
import { ChappeError } from './errors.js'
import type { Feed } from './feed.js'
import { advice, lossOf, type Loss } from './loss.js'
import type { Machine } from './machine.js'
import type { Request } from './request.js'
import type { Frame } from './wire.js'

export const connectTimeout = 10_000 // dial, TLS, upgrade and welcome together

/** What a connection knows of a subscription it asked for. */
export interface Sub {
  ref: number
  standing?: boolean
  /** It comes on a way of its own: the control stream's progress says nothing of it. */
  via?: string
  terms: string
}

/** One stay at one relay, from the dial to the loss. */
export abstract class Link {
  readonly subs = new Map<Feed, Sub>()
  /** Resolves with the loss. */
  readonly over: Promise<Loss>
  ended: Loss | undefined
  /** Called at the welcome, when the machine has made this its link. */
  onlive = () => {}
  /** Whether the machine may still make this its link. */
  wanted = () => true
  live = false
  session = ''
  region = ''
  /** Newest position that the relay told. */
  told = ''
  protected heardAt = env.now()
  protected last: Frame | undefined // an error of the session: what follows explains less
  protected ping = 10_000
  private granted = new Map<string, string>() // subscriptions the relay made: where they began
  private timers = new Map<string, () => void>()
  private resolve!: (l: Loss) => void

  constructor(
    readonly m: Machine,
    readonly kind: Transport,
    readonly base: string,
  ) {
    this.over = new Promise((r) => (this.resolve = r))
  }

  abstract start(): void
  /** The set of subscriptions that are wanted has changed. */
  abstract sync(): void
  /** Has a subscription asked for anew, from where it stands now. */
  abstract drop(feed: Feed): void
  /** Sends a request; its answer goes to machine.settle. */
  abstract ask(r: Request): void
  /** Brings a new token to the relay. */
  protected abstract refresh(token: string): void
  /** Closes the connection. */
  protected abstract shut(): void
  /** Asks for a sign of life. */
  abstract check(): void

  /** Ends the link. Only the first loss counts. */
  end(loss: Loss): void {
    if (this.ended) return
    this.ended = loss
    for (const cancel of this.timers.values()) cancel()
    this.shut()
    this.resolve(loss)
  }

  fail(text: string, more?: Partial<Loss>): void {
    this.end(lossOf(`${this.base}: ${text}`, more))
  }

  /** Runs f after ms unless the link ends before, or the timer of that name is set again. */
  protected after(name: string, ms: number, f: () => void): void {
    this.cancel(name)
    if (!this.ended) this.timers.set(name, env.after(ms, f))
  }

  protected cancel(name: string): void {
    this.timers.get(name)?.()
  }

  protected heard(): void {
    this.heardAt = env.now()
  }

  /** Whether nothing was heard for longer than a living relay is silent. */
  get quiet(): boolean {
    return env.now() - this.heardAt > this.ping * 1.5
  }

  /** Drops the link when the relay is silent for ms. A timer that comes late shows that this page slept: what has come meanwhile is read first. */
  protected watch(ms: number): void {
    const due = this.heardAt + ms
    this.after('dead', due - env.now(), () => {
      if (env.now() - due > 2000) {
        this.check()
        this.after('dead', 3000, () => this.watch(ms))
      } else if (env.now() < this.heardAt + ms) this.watch(ms)
      else this.fail('silent for too long', { silent: true })
    })
  }

  /** Acts on a frame of the relay. */
  handle(f: Frame, apart?: unknown): unknown {
    const { m } = this
    switch (f.t) {
      case 'presence':
      case 'ack':
      case 'history':
        if ((f.ref && m.settle(f.ref, f)) || f.t !== 'presence') return
      // falls through: news of who came and went
      case 'msg':
      case 'gap':
        return this.deliver(f, apart)
      case 'progress':
        return apart || this.progressed(f.cursor) // of one channel alone: its messages say as much
      case 'subbed':
        return this.subbed(f)
      case 'unsubbed':
        this.granted.delete(f.channel)
        if (f.code) m.refuse(m.feeds.get(f.channel), new ChappeError(f.code, f.text))
        return
      case 'err':
        return this.refused(f)
      case 'welcome':
        return this.welcomed(f)
      case 'drain':
        // Stays for the told delay, reads on, and leaves at the moment chosen for it.
        this.after('drain', advice(f.delay_ms), () => this.fail('draining', { drained: true, moved: f.alternatives }))
    }
  }

  private welcomed(f: Frame): void {
    this.session = f.session ?? ''
    this.region = f.region ?? ''
    this.ping = advice(f.ping_ms) || this.ping
    this.m.auth.accepted(f.resume, f.expires)
    if (f.dead_ms) this.watch(advice(f.dead_ms))
    this.renew(f.expires)
    this.m.adopt(this, advice(f.reconnect_ms), f.alternatives)
  }

  /** Brings a new token shortly before the present one ends. */
  protected renew(expires?: number): void {
    const { auth } = this.m
    if (!expires || !auth.renewable) return
    const bring = () =>
      auth.fresh().then(
        (token) => this.ended || this.refresh(token),
        // The relay will end the session; the next one asks again.
        () => env.now() < expires && this.after('token', 5000, bring),
      )
    this.after('token', auth.renewal(expires), bring)
  }

  private deliver(f: Frame, apart: unknown): void {
    const names: string[] | undefined = f.channel ? [f.channel] : f.channels
    for (const [feed, sub] of this.subs) {
      // A datagram may overtake the grant. What comes on another stream has it before it.
      if ((sub.standing || apart) && (!names || names.some((n) => feed.concerns(n)))) feed.deliver(f, sub.via)
    }
  }

  /** Moves every subscription that stands, or the one of a name. What comes on one way must not move what comes on another: it may have overtaken it. */
  protected progressed(cursor: string, name?: string): void {
    this.told = cursor
    for (const [feed, sub] of this.subs) {
      if (sub.standing && !sub.via && (!name || name === feed.name)) for (const c of feed.active) c.progress(cursor)
    }
  }

  /** Finds the subscription that an answer is about. */
  private about(f: Frame): [Feed?, Sub?] {
    return [...this.subs].find(([feed, sub]) => (f.ref ? sub.ref === f.ref : feed.name === f.channel)) ?? []
  }

  private subbed(f: Frame): void {
    const [feed, sub] = this.about(f)
    if (feed) {
      feed.pass = f.pass || feed.pass
      sub!.via = f.via
      if (!sub!.standing && (f.cursor || !f.pass)) this.stand(feed, f.cursor)
    } else if (!f.ref) this.granted.set(f.channel, f.cursor)
  }

  protected stand(feed: Feed, cursor?: string): void {
    const blind = feed.began && !feed.cursor()
    this.subs.get(feed)!.standing = true
    feed.stand(cursor)
    // The relay never told a place, so this is a new beginning: what was
    // published in between is lost, and nobody knows how much.
    if (blind) feed.deliver({ t: 'gap', channels: [feed.name], reason: 'lossy' })
  }

  private refused(f: Frame): void {
    const error = new ChappeError(f.code, f.text, advice(f.retry_ms))
    if (f.ref && this.m.settle(f.ref, undefined, error)) return
    if (!f.ref && !f.channel) {
      this.last = f
      return this.sessionError(f)
    }
    const [feed, sub] = this.about(f)
    if (!feed || sub!.standing || f.code === 'not_subscribed') return
    if (f.code === 'subscribed') this.stand(feed, this.told || this.granted.get(feed.name))
    else if (f.retry_ms && !f.terminal) this.after(feed.name, error.retryMs, () => this.drop(feed))
    else this.m.refuse(feed, error)
  }

  protected sessionError(_f: Frame): void {}
}
