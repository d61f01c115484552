import type { Transport } from './api.js'
import { env } from './env.js'
import { loss, type Feed } from './feed.js'
import { advice, lossBy, lossOf, type Loss } from './loss.js'
import type { Machine } from './machine.js'
import type { Request } from './request.js'
import type { Frame } from './wire.js'

/** On which way something comes: the control stream (none), by datagram (true), or a stream of its own, which this is. */
export type Way = true | object | undefined

/** What a connection knows of a subscription it asked for. */
export interface Sub {
  ref: number
  standing?: boolean
  way?: Way
  /** Came by datagram before the grant, which it overtook. */
  early: Frame[]
  terms: string
}

const early = 64 // of those, for a subscription

// Names of timers.
export const connecting = 0
const dying = 1
export const checking = 2
const draining = 3
const expiring = 4
export const pausing = 5

/** One stay at one relay, from the dial to the loss. */
export abstract class Link {
  readonly follows = new Map<Feed, Sub>()
  ended: Loss | undefined
  live?: boolean
  /** Whether the machine may still make this its link. */
  wanted?: () => boolean
  /** Called at the welcome, when the machine has made this its link. */
  onlive?: () => void
  /** Called with the loss. */
  onover?: (loss: Loss) => void
  session?: string
  private node?: string
  region?: string
  /** Newest position that the relay told. */
  told?: string
  protected heardAt = env.now()
  protected last: Frame | undefined // an error of the session: what follows explains less
  protected ping = 10_000
  private granted = new Map<string, [cursor: string, way: Way]>() // subscriptions the relay made: where they began
  private timers = new Map<unknown, () => void>()

  constructor(
    readonly m: Machine,
    readonly kind: Transport,
    readonly base: string,
  ) {}

  abstract start(): void
  /** The set of subscriptions that are wanted has changed, or one is to be asked for anew, from where it stands now. */
  abstract sync(again?: Feed): void
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
    this.onover?.(loss)
  }

  fail(text: string, more?: Partial<Loss>): void {
    this.end(lossOf(`${this.base}: ${text}`, more))
  }

  /** Runs f after ms unless the link ends before, or the timer of that name is set again. */
  protected after(name: unknown, ms: number, f: () => void): void {
    this.cancel(name)
    if (!this.ended) this.timers.set(name, env.after(ms, f))
  }

  cancel(name: unknown): void {
    this.timers.get(name)?.()
  }

  /** Fails unless that is cancelled within ms. */
  protected within(ms?: number | false): void {
    this.after(connecting, ms || this.m.pacer.patience(this.m.lost), () => this.fail('no answer', { mute: !this.live }))
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
    this.after(dying, due - env.now(), () => {
      if (env.now() - due > 2000) {
        this.check()
        this.after(dying, 3000, () => this.watch(ms))
      } else if (env.now() < this.heardAt + ms) this.watch(ms)
      else this.fail('no answer', { silent: true })
    })
  }

  /** Acts on a frame of the relay. */
  handle(f: Frame, way?: Way): unknown {
    const { m } = this
    if (f.t !== 'err' && m.settle(f.ref, f)) return
    switch (f.t) {
      case 'ack':
        return f.expires && this.accepted(f)
      case 'msg':
      case 'gap':
      case 'presence':
        return this.deliver(f, way)
      case 'progress':
        // Of one channel: between tabs.
        return f.channel ? m.feeds.get(f.channel)?.progress(f.cursor) : this.progressed(f.cursor, way)
      case 'subbed':
        return this.subbed(f, way)
      case 'unsubbed':
        // slow: its stream was not read. It goes on where it is, on another one.
        if (f.code === 'slow') m.sync(f.channel)
        else if (f.code) m.refuse(m.feeds.get(f.channel), lossBy(0, f).error)
        return
      case 'err':
        return this.refused(f)
      case 'welcome':
        return this.welcomed(f)
      case 'drain':
        // Stays for the told delay, reads on, and leaves at the moment chosen for it.
        this.after(draining, advice(f.delay_ms), () => this.fail('draining', { moved: f.alternatives ?? [] }))
    }
  }

  private welcomed(f: Frame): void {
    this.session = f.session
    this.node = f.node
    this.region = f.region
    this.ping = advice(f.ping_ms) || this.ping
    this.accepted(f)
    if (f.dead_ms) this.watch(advice(f.dead_ms))
    this.m.adopt(this, advice(f.reconnect_ms), f.alternatives)
  }

  /** Records what the relay says of the credentials, and brings a new token shortly before they end. */
  private accepted(f: Frame): void {
    const { auth } = this.m
    const ends = auth.accepted(f)
    if (!auth.renewable) return
    const bring = () =>
      auth.fresh().then(
        (token) => this.ended || this.refresh(token),
        // The relay will end the session; the next one asks again.
        () => env.now() < ends && this.after(expiring, 5000, bring),
      )
    this.after(expiring, auth.renewal(ends), bring)
  }

  private deliver(f: Frame, way: Way): void {
    const names: string[] | undefined = f.channel ? [f.channel] : f.channels
    const loose = way === true
    for (const [feed, sub] of this.follows) {
      if (names && !names.some((n) => feed.concerns(n))) continue
      // What fits in no datagram, and what must not be lost, comes on the control stream.
      if (sub.standing) (sub.way === way || (!way && sub.way === true)) && feed.deliver(f, loose)
      else if (loose && sub.early.length < early) sub.early.push(f)
    }
  }

  /** Moves the subscriptions that stand on a way. What comes on one must not move what comes on another: it may have overtaken it. */
  protected progressed(cursor: string, way?: Way): void {
    if (!way) this.told = cursor
    for (const [feed, sub] of this.follows) if (sub.standing && sub.way === way) feed.progress(cursor)
  }

  /** Finds the subscription that an answer is about. */
  private about(f: Frame): [Feed?, Sub?] {
    return [...this.follows].find(([feed, sub]) => (f.ref ? sub.ref === f.ref : feed.name === f.channel)) ?? []
  }

  private subbed(f: Frame, way: Way): void {
    const [feed, sub] = this.about(f)
    if (f.via === 'datagram') way = true
    if (feed) {
      feed.pass = f.pass || feed.pass
      // A newer pass comes without a place.
      if (!sub!.standing && (f.cursor || !f.pass)) this.stand(feed, f.cursor, way)
    } else this.granted.set(f.channel, [f.cursor, way])
  }

  protected stand(feed: Feed, cursor?: string, way?: Way): void {
    const blind = feed.began && !feed.cursor()
    const sub = this.follows.get(feed)!
    sub.standing = true
    sub.way = way
    feed.stand(cursor, way === true ? this.node : undefined)
    // The relay never told a place, so this is a new beginning: what was
    // published in between is lost, and nobody knows how much.
    if (blind) feed.deliver(loss(feed.name))
    for (const f of sub.early) feed.deliver(f, true)
  }

  private refused(f: Frame): void {
    const { error, delay } = lossBy(0, f)
    if (this.m.settle(f.ref, undefined, error)) return
    if (!f.ref && !f.channel) {
      this.last = f
      return this.sessionError(f)
    }
    const [feed, sub] = this.about(f)
    if (!feed || sub!.standing || f.code === 'not_subscribed') return
    if (f.code === 'subscribed') {
      const [from, way] = this.granted.get(feed.name) ?? []
      this.stand(feed, way ? from : this.told || from, way)
    } else if (delay && !f.terminal) this.after(feed, delay, () => this.sync(feed))
    else this.m.refuse(feed, error)
  }

  protected sessionError(_f: Frame): void {}
}
