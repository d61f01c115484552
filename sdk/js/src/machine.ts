import type { State, Store, TokenSource, Transport } from './api.js'
import { improve } from './better.js'
import { env } from './env.js'
import { ChappeError, closed } from './errors.js'
import { Feed, type Consumer } from './feed.js'
import { Handlers } from './handlers.js'
import type { Link } from './link.js'
import { lossOf, type Loss } from './loss.js'
import { recall, remember } from './memory.js'
import { Pacer } from './pace.js'
import { watchPage } from './page.js'
import { race, replaced } from './race.js'
import type { Request } from './request.js'
import { rewind } from './rewind.js'
import { SocketLink, dialSocket } from './socket.js'
import { StreamLink } from './stream.js'
import type { Tabs } from './tabs.js'
import { Credentials } from './token.js'
import type { Frame } from './wire.js'
import { dialTransport } from './wt.js'

/** What a machine is told to do. */
export interface Orders {
  urls: string[]
  token?: TokenSource
  transports: Transport[]
  nearest: boolean
  agent: string
  store?: Store
}

const aside = lossOf('the page was put away', { drained: true })
const elsewhere = lossOf('another tab has the connection', { drained: true })

/** Connects, stays, and comes back (docs/clients.md). */
export class Machine {
  readonly feeds = new Map<string, Feed>()
  readonly handlers = new Handlers()
  readonly auth: Credentials
  readonly pacer: Pacer
  state: State = { phase: 'idle' }
  /** The connection; undefined between two. */
  link: Link | undefined
  /** The last loss: there was a connection, or an attempt at one. */
  lost: Loss | undefined
  tabs: Tabs | undefined
  /** Ends the race that is under way. */
  stop = (_loss?: Loss) => {}
  private readonly pending = new Map<number, Request>()
  private ref = 0
  private running = false
  private over: Error | undefined
  private asleep = false // the page is put away
  private nudge = () => {} // something may be wanted now
  private rouse = (_now?: boolean) => {} // ends a wait
  private since = 0 // when the connection, of however many links, became live
  private cancelSeek = () => {}
  private readonly unwatch: () => void

  constructor(readonly o: Orders) {
    this.auth = new Credentials(o.token)
    const { home, settled = 0 } = recall(o.urls[0]!)
    this.pacer = new Pacer([...new Set(o.nearest && home && settled > env.now() ? [home, ...o.urls] : o.urls)])
    this.unwatch = watchPage(
      (surely) => {
        this.asleep = false
        this.nudge()
        if (!this.link) this.rouse()
        else if (surely || this.link.quiet) this.link.check()
      },
      (surely) => {
        this.save()
        // A page that may come back must not hold a connection.
        if (surely) this.asleep = true
        if (surely) this.link?.end(aside)
      },
    )
  }

  private set(s: State): void {
    const still = s.phase === 'idle' && this.state.phase === 'idle'
    this.state = s
    if (!still) this.handlers.call('state', s)
    this.tabs?.tell(s)
  }

  /** Takes over the state of the tab that has the connection. */
  mirror({ error, until, ...s }: State): void {
    const live = s.phase === 'live'
    this.set({ ...s, ...(live && { transport: 'tab' }), ...(error && { error: new ChappeError('', `${error}`), until: new Date(until!) }) })
  }

  // --- wishes

  /** The subscriptions that are to be followed now. */
  wants(): Feed[] {
    return [...this.feeds.values()].filter((f) => f.active.length)
  }

  join(name: string, c: Consumer): void {
    if (this.over) throw this.over
    const feed = this.feeds.get(name) ?? new Feed(name)
    const now = feed.cursor()
    this.feeds.set(name, feed)
    feed.consumers.add(c)
    if (c.o.cursor) this.again(feed)
    else if (feed.began) {
      if (c.o.last) void rewind(this, feed, [c])
      else if (now) c.begin(now)
    }
    if (feed.began && !c.paused) c.granted()
    this.sync()
  }

  part(name: string, c: Consumer): void {
    const feed = this.feeds.get(name)
    if (feed?.consumers.delete(c) && !feed.consumers.size) this.feeds.delete(name)
    this.sync()
  }

  /** The wishes changed: runs, if it does not yet, and tells the connection. */
  sync(): void {
    if (!this.running) {
      this.running = true
      // What is asked for in one go is one flight.
      queueMicrotask(() => this.run().catch((e) => this.finish(e)))
    }
    this.nudge()
    this.link?.sync()
  }

  /** Has a subscription begin again where its consumers stand. */
  again(feed: Feed | undefined): void {
    if (feed) this.link?.drop(feed)
    this.sync()
  }

  /** Ends a subscription because the relay says so. */
  refuse(feed: Feed | undefined, e: Error): void {
    if (!feed) return
    this.feeds.delete(feed.name)
    this.link?.subs.delete(feed)
    for (const c of feed.consumers) c.end(e)
    this.sync()
  }

  // --- cursors that outlive the page

  private key(name: string): string {
    return `chappe:${this.o.urls[0]}:${name}`
  }

  stored(name: string): string {
    return this.o.store?.getItem(this.key(name)) ?? ''
  }

  private save(): void {
    for (const feed of this.feeds.values()) {
      for (const c of feed.consumers as Set<Consumer & { cursor?: string }>) if (c.cursor) this.o.store?.setItem(this.key(feed.name), c.cursor)
    }
  }

  // --- the run

  private async run(): Promise<void> {
    await this.tabs?.ready
    while (await this.wanted()) {
      const url = this.pacer.target
      this.set({ phase: 'connecting', url })
      const loss = (await race(this, url)) ?? (await this.stay())
      const lived = this.since && Math.max(1, env.now() - this.since)
      this.since = 0
      if (this.over) return
      if (this.tabs?.follower && (loss.silent || loss.mute)) this.tabs.steal()
      if (loss.terminal || (loss.auth && !this.auth.refused())) return this.finish(loss.error)
      this.lost = loss
      const delay = this.pacer.next(loss, lived)
      this.set({ phase: 'waiting', error: loss.error, until: new Date(env.now() + delay) })
      await this.rest(delay, !loss.delay)
    }
  }

  private async wanted(): Promise<boolean> {
    for (;;) {
      if (this.over) return false
      if (!this.asleep && (this.wants().length || this.pending.size)) return true
      this.set({ phase: 'idle' })
      await new Promise<void>((go) => (this.nudge = go))
    }
  }

  /** Stays until the connection is lost, by whatever links. */
  private async stay(): Promise<Loss> {
    for (;;) {
      const link = this.link!
      const loss = await link.over
      if (this.link !== link) continue
      this.link = undefined
      this.cancelSeek()
      return loss
    }
  }

  /** Waits, unless something says that now is better: the network is back, the page is seen again. Advice of the relay holds. */
  private rest(ms: number, free: boolean): Promise<void> {
    return new Promise((done) => {
      let cancel = env.after(ms, done)
      this.rouse = (now) => {
        if (!free && !now) return
        cancel()
        // All the pages that the network comes back for must not be one wave.
        cancel = env.after(now ? 0 : env.random() * Math.min(ms, 1000), done)
      }
    })
  }

  open(kind: Transport, base: string): Link {
    if (kind === 'sse' || kind === 'poll') return new StreamLink(this, kind, base)
    return new SocketLink(this, kind, base, kind === 'tab' ? this.tabs!.dial : kind === 'wt' ? dialTransport : dialSocket)
  }

  /** Makes a link that a relay has welcomed the one link. */
  adopt(link: Link, window: number, alternatives?: string[]): void {
    const old = this.link
    if (link !== old && (this.over || !link.wanted())) return link.end(replaced)
    const { base: url, kind: transport, region, session } = link
    this.pacer.welcomed(url, window, alternatives)
    if (link === old) return
    this.link = link
    link.live = true
    this.since ||= env.now()
    if (transport !== 'tab') {
      remember(url, { kind: transport, ...(transport === 'wt' && { udp: env.now() + 7 * 86_400_000 }) })
      this.set({ phase: 'live', url, region, session, transport })
      // Soon after the first connection, slowly after a loss: all who were lost come back.
      this.seek(this.lost ? 120_000 : 10_000)
    }
    link.onlive()
    old?.end(replaced)
    link.sync()
    for (const r of this.pending.values()) link.ask(r)
  }

  /** Looks for something better in a while, as long as this connection lives. */
  private seek(wait: number): void {
    const { link } = this
    this.cancelSeek()
    this.cancelSeek = env.after(wait * (0.5 + env.random()), async () => {
      const found = !env.hidden() && (await improve(this, link!))
      if (!found && this.link === link) this.seek(Math.min(wait * 2, 3_600_000))
    })
  }

  // --- requests

  nextRef(): number {
    return (this.ref = (this.ref % 0xffffffff) + 1)
  }

  waits(ref: number): boolean {
    return this.pending.has(ref)
  }

  /** Sends a frame and waits for its answer, across connections. */
  async request(f: Frame, signal?: AbortSignal): Promise<Frame> {
    if (this.over) throw this.over
    signal?.throwIfAborted()
    const ref = this.nextRef()
    const aborted = () => this.settle(ref, undefined, signal!.reason)
    signal?.addEventListener('abort', aborted)
    try {
      return await new Promise<Frame>((yes, no) => {
        const r: Request = { frame: { ...f, ref }, settle: (answer, error) => (answer ? yes(answer) : no(error)) }
        this.pending.set(ref, r)
        this.link?.ask(r)
        this.sync()
      })
    } finally {
      this.pending.delete(ref)
      signal?.removeEventListener('abort', aborted)
    }
  }

  /** Gives an answer to the request that waits for it. */
  settle(ref: number, answer?: Frame, error?: Error): boolean {
    const r = this.pending.get(ref)
    this.pending.delete(ref)
    r?.settle(answer, error)
    return !!r
  }

  // --- the end

  /** Tabs: another one has the connection now, or this one. */
  handover(): void {
    this.link?.end(elsewhere)
    this.stop(elsewhere)
    this.rouse(true)
  }

  finish(error: Error): void {
    if (this.over) return
    this.save()
    this.over = error
    this.set({ phase: 'closed', error })
    this.unwatch()
    this.cancelSeek()
    this.tabs?.close()
    this.link?.end({ error })
    this.stop({ error })
    for (const ref of this.pending.keys()) this.settle(ref, undefined, error)
    for (const feed of this.feeds.values()) for (const c of feed.consumers) c.end(error)
    this.feeds.clear()
    this.nudge()
    this.rouse(true)
  }

  close(): void {
    this.finish(closed())
  }
}
