import type { Ack, ChannelOptions, Chappe, ClientEvents, Options, PublishOptions, State, Transport } from './api.js'
import { improve } from './better.js'
import { Channel } from './channel.js'
import { Emitter } from './emitter.js'
import { env } from './env.js'
import { ChappeError, closed } from './errors.js'
import { Feed, type Consumer } from './feed.js'
import { connecting, type Link } from './link.js'
import { lossOf, type Loss } from './loss.js'
import { keep, recall, remember } from './memory.js'
import { Pacer, backoff, baseOf, union } from './pace.js'
import { before } from './position.js'
import { race, replaced } from './race.js'
import { onAbort, passes, type Request } from './request.js'
import { rewind } from './rewind.js'
import { SocketLink } from './socket.js'
import { StreamLink } from './stream.js'
import { Tabs } from './tabs.js'
import { Credentials } from './token.js'
import { enclose, type Frame } from './wire.js'

/** What a machine is told to do. */
export interface Orders extends Options {
  urls: string[]
  transports: Exclude<Transport, 'tab'>[]
  agent: string
  log(text: string): void
}

const most = 1000 // requests that wait for a connection

/** The network is back; the page is seen again, or hidden; it is put away, perhaps to come back. */
const pageEvents = ['online', 'pageshow', 'visibilitychange', 'pagehide']

/** The page was put away, or another tab has the connection. */
const left = lossOf('', { ours: true })

/** Connects, stays, and comes back (docs/clients.md). */
export class Machine extends Emitter<ClientEvents> implements Chappe {
  readonly o: Orders
  readonly feeds = new Map<string, Feed>()
  readonly auth: Credentials
  readonly pacer: Pacer
  state: State = { phase: 'idle' }
  /** The connection; undefined between two. */
  link: Link | undefined
  /** The last loss: there was a connection, or an attempt at one. */
  lost: Loss | undefined
  tabs: Tabs | undefined
  /** Ends what is being opened. */
  stop = (_loss: Loss) => {}
  readonly pending = new Map<number, Request>()
  /** Of the last question. */
  ref = 0
  private busy?: boolean // connecting, live or waiting
  private over: Error | undefined
  private asleep?: boolean // the page is put away
  private since = 0 // when the connection, of however many links, became live
  private cancel = () => {} // of a search, or a rest
  private readonly gone = new AbortController() // when the client is over

  constructor(url: string | string[], given: Options = {}) {
    super()
    const { agent = '', share = true, transports = ['wt', 'ws', 'sse', 'poll'], nearest = true, log = console.error } = given
    const urls = [url].flat().map(baseOf)
    const o = (this.o = { ...given, urls, transports, nearest, log, agent: `chappe-js/1 ${agent}`.trim() })
    if (share && env.locks) this.tabs = new Tabs(this, share)
    this.auth = new Credentials(o.token)
    const { home, settled } = recall(o.urls[0]!)
    this.pacer = new Pacer(union(o.nearest && settled! > env.now() ? [home!] : [], o.urls))
    const { signal } = this.gone
    for (const type of pageEvents) env.page?.addEventListener(type, () => this.page(type), { signal })
    if (o.signal?.aborted) this.close()
    o.signal?.addEventListener('abort', () => this.close(), { signal })
  }

  /** What a page's life means for its connection (CLIENTS §11). */
  private page(type: string): void {
    const back = type === 'online'
    const away = type === 'pagehide'
    if (away || (env.hidden() && !back)) {
      this.save()
      // A page that may come back must not hold a connection, nor make one.
      if (away) {
        this.leave(left)
        this.asleep = true
      }
    } else {
      this.asleep = false
      this.rouse()
      this.step()
      // What was thought to stand may not.
      if (back || this.link?.quiet) this.link?.check()
    }
  }

  // --- what applications call

  channel<T>(name: string, o?: ChannelOptions): Channel<T> {
    return new Channel<T>(this, name, o)
  }

  async publish(channel: string, data: unknown, { signal, ttl, ...rest }: PublishOptions = {}): Promise<Ack> {
    // What was cut off is sent again, and must be known for a repeat.
    const id = crypto.getRandomValues(new Uint32Array(4)).join('')
    const { stamp, dup = false } = await this.request({ t: 'pub', channel, id, ...rest, ttl_ms: ttl && Math.ceil(ttl), ...enclose(data) }, signal)
    return { stamp, dup }
  }

  close(): void {
    this.finish(closed())
  }

  // ---

  private set(s: State): void {
    if (s.phase === 'idle' && this.state.phase === 'idle') return
    this.state = s
    this.emit('state', s)
    this.tabs?.tell(s)
  }

  /** Takes over the state of the tab that has the connection. */
  mirror(s: State): void {
    if (s.transport) s.transport = 'tab'
    this.set(s)
  }

  // --- wishes

  /** The subscriptions that are to be followed now. */
  wants(): Feed[] {
    return [...this.feeds.values()].filter((f) => f.active.length)
  }

  /** Throws what cannot be asked for. */
  join(name: string, c: Consumer): void {
    if (this.over) throw this.over
    JSON.stringify(c.o)
    const feed = this.feeds.get(name) ?? new Feed(name)
    const now = feed.cursor()
    this.feeds.set(name, feed)
    feed.consumers.add(c)
    const { cursor, last } = c.o
    if (feed.began && !cursor && last) void rewind(this, feed, [c])
    else if (feed.began) {
      if (!cursor && now) c.progress(now)
      c.granted()
    }
    this.sync(cursor && name)
  }

  part(name: string, c: Consumer): void {
    const feed = this.feeds.get(name)
    if (feed?.consumers.delete(c) && !feed.consumers.size) this.feeds.delete(name)
    this.sync()
  }

  /** The wishes changed. again: a channel that is to begin again where its consumers stand. */
  sync(again = ''): void {
    // What is asked for in one go is one flight.
    queueMicrotask(() => this.step())
    this.link?.sync(this.feeds.get(again))
  }

  /** Ends a subscription because the relay says so. */
  refuse(feed: Feed | undefined, e: Error): void {
    if (!feed) return
    this.feeds.delete(feed.name)
    this.link?.follows.delete(feed)
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

  keep(name: string, cursor: string): void {
    keep(this.o.store, this.key(name), cursor)
  }

  private save(): void {
    for (const feed of this.feeds.values()) {
      const cursor = before([...feed.consumers].map((c) => c.cursor))
      if (cursor) this.keep(feed.name, cursor) // else it is another tab that follows it
    }
  }

  // --- the run

  /** Connects, where that is wanted and nothing is under way. */
  private step(): void {
    if (this.over || this.busy) return
    if (this.asleep || !(this.wants().length || this.pending.size)) return this.set({ phase: 'idle' })
    this.busy = true
    const url = this.pacer.target
    this.set({ phase: 'connecting', url })
    this.stop = race(this, url, (loss) => this.lose(loss))
  }

  /** Resolves when it is known who leads, and what to show the relay is at hand. */
  async ready(): Promise<void> {
    await this.tabs?.ready()
    if (!this.tabs?.follower) await this.auth.show()
  }

  /** The connection was lost, by whatever links, or none came about. */
  private lose(loss: Loss): void {
    this.link = undefined
    this.stop(loss) // what was to take over
    const lived = this.since && env.now() - this.since + 1
    this.since = 0
    if (this.over) return
    if (this.tabs?.follower && (loss.silent || loss.mute)) {
      this.tabs.seize()
      loss = left // of the tab that led: it says nothing of the relay
    }
    if (loss.terminal || (loss.auth && !this.auth.refused())) return this.finish(loss.error)
    if (!loss.ours) this.lost = loss
    const delay = this.pacer.next(loss, lived)
    this.set({ phase: 'waiting', error: loss.error, until: new Date(env.now() + delay) })
    this.rest(delay)
  }

  /** Waits before the next attempt. */
  private rest(ms: number): void {
    this.cancel()
    this.cancel = env.after(ms, () => {
      this.busy = false
      this.step()
    })
  }

  /** Something says that now is better than later: the network is back, the page is seen again. Advice of the relay holds. */
  private rouse(now?: boolean): void {
    const { phase, until } = this.state
    if (this.link || phase !== 'waiting' || (this.lost?.delay && !now)) return
    // All the pages that the network comes back for must not be one wave.
    this.rest(now ? 0 : env.random() * Math.min(1000, +until! - env.now()))
  }

  open(kind: Transport, base: string): Link {
    return new (/sse|poll/.test(kind) ? StreamLink : SocketLink)(this, kind, base)
  }

  /** Makes a link that a relay has welcomed the one link. */
  adopt(link: Link, window: number, alternatives?: string[]): void {
    const old = this.link
    if (link !== old && (this.over || !link.wanted!())) return link.end(replaced)
    const { base: url, kind: transport, region, session } = link
    this.pacer.welcomed(url, window, alternatives)
    if (link === old) return
    this.link = link
    link.live = true
    link.cancel(connecting)
    this.since ||= env.now()
    if (transport !== 'tab') {
      remember(url, { transport, ...(transport === 'wt' && { udp: env.now() + 7 * 86_400_000 }) })
      this.set({ phase: 'live', url, region, session, transport })
      // Soon after the first connection, slowly after a loss: all who were lost come back.
      this.seek(this.lost ? 120_000 : 10_000)
    }
    link.onover = (loss) => this.link === link && this.lose(loss)
    link.onlive!()
    old?.end(replaced)
    link.sync()
    for (const r of this.pending.values()) this.ask(r)
  }

  /** Looks for something better in a while, as long as this connection lives. */
  private seek(wait: number): void {
    const { link } = this
    this.cancel()
    this.cancel = env.after(wait * (0.5 + env.random()), async () => {
      const found = !env.hidden() && (await improve(this, link!))
      if (!found && this.link === link) this.seek(Math.min(wait * 2, 3_600_000))
    })
  }

  // --- requests

  /** Sends a frame and waits for its answer, across connections. It is sent as it is now, whatever becomes of what it was made of. */
  request(f: Frame, signal?: AbortSignal): Promise<Frame> {
    return new Promise((yes, no) => {
      if (this.over) throw this.over
      if (!this.link && this.pending.size >= most) throw new ChappeError('too_many')
      const ref = ++this.ref
      const frame = JSON.parse(JSON.stringify({ ...f, ref }))
      const undo = onAbort(signal, (why) => this.settle(ref, undefined, why))
      const r: Request = {
        frame,
        tries: 0,
        cancel() {},
        settle(answer, error) {
          undo()
          if (error) no(error)
          else yes(answer!)
        },
      }
      this.pending.set(ref, r)
      this.sync()
      this.ask(r)
    })
  }

  private ask(r: Request): void {
    r.cancel()
    this.link?.ask(r)
  }

  /** Gives an answer to the request that waits for it. One that the relay cannot answer now is made again when it says. */
  settle(ref: number | undefined, answer?: Frame, error?: Error): boolean {
    const r = this.pending.get(ref!)
    if (!r) return false
    r.cancel()
    if (!this.over && passes(r, error)) r.cancel = env.after(error.retryMs || backoff(r.tries++), () => this.ask(r))
    else {
      this.pending.delete(ref!)
      r.settle(answer, error)
    }
    return true
  }

  // --- the end

  private leave(loss: Loss): void {
    this.link?.end(loss)
    this.stop(loss)
  }

  /** Tabs: another one has the connection now, or this one. */
  handover(): void {
    this.leave(left)
    this.rouse(true)
  }

  finish(error: Error): void {
    if (this.over) return
    this.save()
    this.over = error
    this.set({ phase: 'closed', error })
    this.gone.abort()
    this.cancel()
    this.tabs?.close()
    this.leave({ error })
    for (const ref of this.pending.keys()) this.settle(ref, undefined, error)
    for (const feed of this.feeds.values()) this.refuse(feed, error)
  }
}
