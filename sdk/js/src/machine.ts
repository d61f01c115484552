import { ChappeError, advice, closed, lossOfAnswer, type Loss } from './errors.js'
import { gapOf, message, type Ack, type Gap, type HistoryOptions, type Page, type PublishOptions } from './channel.js'
import type { Env } from './env.js'
import { Feed, type Consumer } from './feed.js'
import { type Kind, type Link } from './link.js'
import { Memory } from './memory.js'
import { Pacer, acceptable, backoff } from './pace.js'
import { watchPage } from './page.js'
import { nearest, regionsOf, type Probe } from './region.js'
import { SocketLink, dialSocket } from './socket.js'
import { StreamLink } from './stream.js'
import type { Tabs } from './tabs.js'
import { Credentials, type TokenSource } from './token.js'
import { enclose, bodyOf, type Frame, type Member } from './wire.js'
import { dialTransport } from './wt.js'

/** Where a client stands: docs/clients.md §1. */
export interface State {
  phase: 'idle' | 'connecting' | 'live' | 'waiting' | 'closed'
  /** connecting, live: which relay. */
  url?: string
  /** live: as the relay calls it. */
  region?: string
  /** live: for support and logs. */
  session?: string
  /** live: how frames travel; `tab`: over another tab's connection. */
  transport?: Kind
  /** waiting, closed: why. */
  error?: Error
  /** waiting: the next attempt. */
  until?: Date
}

/** What a client hears. */
export interface ClientEvents {
  state: (s: State) => void
  /** A loss in any channel, when it is taken. */
  gap: (g: Gap) => void
  /** A handler of the application threw. */
  fault: (e: unknown) => void
}

/** What waits for an answer across connections. */
export interface Request {
  frame: Frame & { ref: number }
  settle(answer?: Frame, error?: Error): void
}

export interface Plan {
  homes: string[]
  token?: TokenSource
  transports: Kind[]
  nearest: boolean
  agent: string
  store?: Pick<Storage, 'getItem' | 'setItem'>
}

// How long each transport has before the next one is tried beside it, at the first connection only.
const headStart: Record<Kind, number> = { wt: 250, ws: 1000, sse: 1000, poll: 0, tab: 0 }

const replaced: Loss = { error: new ChappeError('', 'another connection was faster') }

/** Connects, stays, and comes back (docs/clients.md). */
export class Machine {
  readonly feeds = new Map<string, Feed>()
  readonly auth: Credentials
  readonly agent: string
  state: State = { phase: 'idle' }
  link: Link | undefined
  tabs: Tabs | undefined
  private readonly pacer: Pacer
  private readonly memory: Memory
  private readonly pending = new Map<number, Request>()
  private readonly listeners = new Map<string, Set<(v: any) => void>>()
  private readonly held = new Set<Feed>() // their history is asked for: not to be followed yet
  private ref = 0
  private running = false
  private over: Error | undefined
  private nudge = () => {} // the set of wishes changed, or the client ends
  private rouse = (_gently: boolean) => {} // ends a wait
  private everLive = false
  private lost: Loss | undefined // the last one
  private cancelPlans = () => {}
  private unwatch: () => void
  private syncing = false
  private asleep = false // the page is put away
  private alone = false // the relay knows of no other region

  constructor(
    readonly env: Env,
    private readonly plan: Plan,
  ) {
    this.auth = new Credentials(env, plan.token)
    this.agent = plan.agent
    this.memory = new Memory(env)
    const near = plan.nearest ? this.memory.home(plan.homes[0]!) : undefined
    this.pacer = new Pacer([...new Set(near ? [near, ...plan.homes] : plan.homes)], env.random)
    this.unwatch = watchPage(env, {
      wake: (surely) => {
        this.asleep = false
        this.nudge()
        if (!this.link) this.rouse(false)
        else if (surely || this.link.quiet) this.link.check()
      },
      leave: () => {
        this.save()
        this.asleep = true
        // A page that may come back must not hold a connection.
        this.link?.end({ error: new ChappeError('', 'the page was put away'), drained: true })
      },
      hide: () => this.save(),
    })
  }

  // --- events

  on(what: string, f: (v: any) => void): void {
    if (!this.listeners.has(what)) this.listeners.set(what, new Set())
    this.listeners.get(what)!.add(f)
  }

  off(what: string, f: (v: any) => void): void {
    this.listeners.get(what)?.delete(f)
  }

  emit(what: string, v: unknown): void {
    for (const f of [...(this.listeners.get(what) ?? [])]) this.guard(() => f(v), what)
  }

  /** Runs the application's code: what it throws is its own affair. */
  guard(f: () => void, what?: string): void {
    try {
      f()
    } catch (e) {
      if (what !== 'fault' && this.listeners.get('fault')?.size) this.emit('fault', e)
      else console.error(e)
    }
  }

  private set(s: State): void {
    const still = s.phase === this.state.phase && (s.phase === 'idle' || s.phase === 'closed')
    this.state = s
    if (!still) this.emit('state', s)
    this.tabs?.tell(s)
  }

  /** Takes over the state of the tab that has the connection. */
  mirror(s: State): void {
    if (this.link?.kind === 'tab' && !this.over) {
      const { phase, url, region, session, until } = s
      const error = s.error && new ChappeError('', String(s.error))
      this.set({ phase, url, region, session, until: until && new Date(until), error, transport: phase === 'live' ? 'tab' : undefined })
    }
  }

  // --- wishes

  /** The subscriptions that are to be followed now. */
  wants(): Feed[] {
    return [...this.feeds.values()].filter((f) => f.active.length && !this.held.has(f))
  }

  join(name: string, c: Consumer): void {
    if (this.over) throw this.over
    const feed = this.feeds.get(name) ?? new Feed(name)
    this.feeds.set(name, feed)
    const other = feed.active.find((o) => o.got.cursor())
    const standing = feed.began
    feed.consumers.add(c)
    if (c.o.cursor) this.again(name)
    if (standing) {
      if (c.o.cursor) c.granted()
      else if (c.o.last) {
        this.rewind(feed, c)
      } else {
        if (other) c.begin(other.got.cursor())
        c.granted()
      }
    }
    this.sync()
  }

  part(name: string, c: Consumer): void {
    const feed = this.feeds.get(name)
    if (!feed?.consumers.delete(c)) return
    if (!feed.consumers.size) this.feeds.delete(name)
    this.sync()
  }

  /** The wishes changed: tells the connection, when the present task is done. */
  sync(): void {
    if (this.syncing) return
    this.syncing = true
    queueMicrotask(() => {
      this.syncing = false
      if (!this.running && !this.over) this.run().catch((e) => this.finish(e as Error))
      this.nudge()
      this.link?.sync()
    })
  }

  /** Has a subscription begin again where its consumers stand. */
  again(name: string): void {
    const feed = this.feeds.get(name)
    if (feed) this.link?.drop(feed)
  }

  /** Gives the newest messages to a consumer of a stream that runs already, by way of history. */
  rewind(feed: Feed, only?: Consumer): void {
    const all = only ? [only] : feed.active
    for (const c of all) c.paused = true
    if (!only) this.held.add(feed)
    const last = Math.max(...all.map((c) => c.o.last ?? 0))
    this.request({ t: 'history', channel: feed.name, last })
      .then(
        (f) => {
          for (const m of f.messages ?? []) for (const c of all) c.push({ t: 'msg', ...m })
          for (const c of all) c.begin(f.cursor)
        },
        () => {
          // No history is kept: it begins now.
          const now = feed.active.find((c) => c.got.cursor())?.got.cursor() || this.link?.told
          if (now) for (const c of all) c.begin(now)
        },
      )
      .finally(() => {
        for (const c of all) {
          c.paused = false
          if (feed.began) c.granted()
        }
        this.held.delete(feed)
        this.again(feed.name)
        this.sync()
      })
  }

  /** Ends a subscription because the relay says so. */
  refuse(feed: Feed | undefined, e: Error): void {
    if (!feed) return
    this.feeds.delete(feed.name)
    for (const c of feed.consumers) c.end(e)
    feed.consumers.clear()
    this.sync()
  }

  // --- cursors that outlive the page

  private key(name: string): string {
    return `chappe:${this.plan.homes[0]}:${name}`
  }

  stored(name: string): string {
    return this.plan.store?.getItem(this.key(name)) ?? ''
  }

  private save(): void {
    for (const feed of this.feeds.values()) {
      for (const c of feed.consumers) {
        if ('cursor' in c && c.cursor) this.guard(() => this.plan.store?.setItem(this.key(feed.name), c.cursor as string))
      }
    }
  }

  // --- the run

  private async run(): Promise<void> {
    this.running = true
    await this.tabs?.ready
    while (await this.wanted()) {
      const base = this.pacer.target
      if (this.link?.kind !== 'tab') this.set({ phase: 'connecting', url: base })
      const loss = await this.visit(base)
      const lived = this.since ? Math.max(1, this.env.now() - this.since) : 0
      this.since = 0
      if (this.over) return
      if (this.tabs?.follower && (loss.silent || loss.mute)) this.tabs.steal()
      if (loss.auth && !this.auth.refused()) loss.terminal = true
      if (loss.terminal) return this.finish(loss.error)
      this.lost = loss
      const delay = this.pacer.next(loss, lived)
      this.set({ phase: 'waiting', error: loss.error, until: new Date(this.env.now() + delay) })
      await this.rest(delay, !!loss.delay)
    }
  }
  private since = 0

  private async wanted(): Promise<boolean> {
    for (;;) {
      if (this.over) return false
      if (!this.asleep && (this.wants().length || this.pending.size)) return true
      this.set({ phase: 'idle' })
      await new Promise<void>((r) => (this.nudge = r))
    }
  }

  /** Waits, unless something says that now is better: the network is back, the page is seen again. Advice of the relay holds. */
  private rest(ms: number, told: boolean): Promise<void> {
    return new Promise((done) => {
      const until = this.env.now() + ms
      const cancel = this.env.after(ms, () => over())
      const over = () => {
        cancel()
        this.rouse = () => {}
        done()
      }
      this.rouse = (gently) => {
        if (this.over) over()
        else if (!told) {
          // All the pages that the network comes back for must not be one wave.
          cancel()
          this.env.after(gently ? 0 : Math.min(until - this.env.now(), this.env.random() * 1000), over)
        }
      }
    })
  }

  /** Connects to base and stays until the connection is lost. */
  private async visit(base: string): Promise<Loss> {
    const failed = await this.race(base)
    if (failed) return failed
    for (;;) {
      const link = this.link!
      const loss = await link.over
      if (this.link === link) {
        this.link = undefined
        this.cancelPlans()
        return loss
      }
    }
  }

  /**
   * Tries transports until one is live; undefined then. At the first connection
   * they race with head starts. Later racing would multiply the load of those who
   * all come back: the next one is tried only when the relay is known to be well
   * and the present one is stuck (CLIENTS §9).
   */
  private race(base: string): Promise<Loss | undefined> {
    return new Promise((resolve) => {
      const first = !this.everLive && !this.lost
      const kinds = this.tabs?.follower ? (['tab'] as Kind[]) : this.order(base, first)
      const running = new Set<Link>()
      let cancel = () => {}
      let worst: Loss | undefined
      let done = false
      const finish = (loss?: Loss) => {
        if (done) return
        done = true
        cancel()
        for (const link of running) if (link !== this.link) link.end(replaced)
        resolve(loss)
      }
      const start = () => {
        cancel()
        const kind = kinds.shift()
        if (done) return
        if (!kind) {
          if (!running.size) finish(worst ?? { error: new ChappeError('unsupported', 'no transport that this platform has'), terminal: true })
          return
        }
        const link = this.open(kind, base)
        running.add(link)
        link.wanted = () => !done && !this.over
        link.onlive = () => finish()
        void link.over.then((loss) => {
          running.delete(link)
          worst = loss
          if (!done && (loss.delay || loss.auth || loss.terminal || !loss.mute)) finish(loss)
          else if (!done) void advance(loss)
        })
        const wait = first ? headStart[kind] : this.lost?.silent ? 1000 : this.lost?.drained || this.lost?.delay ? 5000 : 2000
        cancel = wait && kinds.length ? this.env.after(wait, () => void advance()) : () => {}
        link.start()
      }
      const advance = async (loss?: Loss) => {
        if (first || !kinds.length) return start()
        cancel()
        const well = await this.probe(base)
        if (done) return
        if (!well) {
          if (loss && !running.size) finish(loss) // an outage: no other transport will do
        } else if (!well.admit) finish({ error: new ChappeError('overloaded', 'the relay admits nobody now', advice(well.retry_ms)), delay: advice(well.retry_ms) })
        else if (loss || well.load < 0.8) start()
      }
      this.stop = finish
      start()
    })
  }
  private stop = (_loss?: Loss) => {}

  /** Transports for base, the best guess first. */
  private order(base: string, first: boolean): Kind[] {
    const usable = this.usable(base)
    const good = this.memory.good(base)
    const able = usable.filter((k) => k !== 'wt' || this.memory.udp(base))
    if (!good || !able.includes(good)) return able
    const at = able.indexOf(good)
    // The one that did last time, then one step down after the other.
    return first ? [good, ...able.filter((k) => k !== good)] : [...able.slice(at), ...able.slice(0, at)]
  }

  private usable(base: string): Kind[] {
    const { env } = this
    return this.plan.transports.filter((k) => {
      if (k === 'wt') return !!env.WebTransport && base.startsWith('https:')
      return k === 'ws' ? !!env.WebSocket : !!env.fetch
    })
  }

  private open(kind: Kind, base: string): Link {
    if (kind === 'tab') return new SocketLink(this, kind, base, this.tabs!.dial)
    if (kind === 'ws' || kind === 'wt') return new SocketLink(this, kind, base, kind === 'ws' ? dialSocket : dialTransport)
    return new StreamLink(this, kind, base)
  }

  hashes(base: string): string[] | undefined {
    return this.memory.hashes(base)
  }

  /** Makes a link that a relay has welcomed the one link. */
  adopt(link: Link, window: number, alternatives?: string[]): void {
    if (link !== this.link && !link.wanted()) return link.end(replaced)
    this.pacer.welcomed(link.base, window, alternatives)
    if (link === this.link) return
    const old = this.link
    this.link = link
    link.live = true
    if (!old) this.since = this.env.now()
    const again = this.everLive
    this.everLive = true
    if (link.kind !== 'tab') {
      this.memory.succeeded(link.base, link.kind)
      const { base: url, region, session, kind: transport } = link
      this.set({ phase: 'live', url, region, session, transport })
      this.improve(old ? this.waited : again ? 120_000 : 10_000)
    }
    link.onlive()
    old?.end(replaced)
    link.sync()
    for (const r of this.pending.values()) link.ask(r)
  }

  // --- better transports, nearer regions

  /**
   * Looks for something better in a while, as long as this connection lives: soon
   * after the first connection, slowly after a loss, for all who were lost come
   * back. The new link is live before the old one is left.
   */
  private improve(wait: number): void {
    this.cancelPlans()
    const link = this.link!
    this.waited = wait
    if (this.usable(link.base).indexOf(link.kind) < 1 && (!this.plan.nearest || this.alone)) return
    this.cancelPlans = this.env.after(wait * (0.5 + this.env.random()), async () => {
      const found = !this.env.hidden() && (await this.seek(link))
      if (!found && this.link === link) this.improve(Math.min(wait * 2, 3_600_000))
    })
  }
  private waited = 0

  /** Reports whether there is a new link. */
  private async seek(link: Link): Promise<boolean> {
    const { base } = link
    const usable = this.usable(base)
    const better = usable.slice(0, Math.max(0, usable.indexOf(link.kind)))
    const well = better.length ? await this.probe(base) : undefined
    if (well?.admit && well.load < 0.8) {
      for (const kind of better) {
        if (kind === 'wt' && !well.webtransport) continue
        if (await this.swap(link, kind, base)) return true
      }
    }
    if (!this.plan.nearest || this.link !== link) return false
    const told = await regionsOf(this, base)
    const urls = [...new Set([...this.plan.homes, ...acceptable(base, told)])]
    this.alone = urls.length < 2
    if (this.alone) return false
    const best = await nearest(this, urls, base)
    if (!best || this.link !== link) return false
    this.pacer.home = [...new Set([best, ...this.pacer.home])]
    this.memory.settle(this.plan.homes[0]!, best)
    return best !== base && this.swap(link, link.kind, best)
  }

  /** Opens another link beside the present one, which gives way at the welcome. */
  private async swap(link: Link, kind: Kind, base: string): Promise<boolean> {
    if (this.link !== link) return true
    const next = this.open(kind, base)
    next.wanted = () => this.link === link && !this.over
    void link.over.then(() => next.live || next.end(replaced))
    const live = new Promise<boolean>((yes) => (next.onlive = () => yes(true)))
    next.start()
    return Promise.race([live, next.over.then(() => false)])
  }

  async probe(base: string, signal?: AbortSignal): Promise<Probe | undefined> {
    const abort = new AbortController()
    const cancel = this.env.after(3000, () => abort.abort())
    signal?.addEventListener('abort', () => abort.abort())
    try {
      const r = await this.fetch(base, '/v1/probe', { signal: abort.signal, cache: 'no-store' })
      if (r.status !== 200) return undefined
      const p: Probe = JSON.parse(await r.text())
      this.memory.probed(base, p.hashes)
      return { ...p, load: p.load ?? 0 }
    } catch {
      return undefined
    } finally {
      cancel()
    }
  }

  fetch(base: string, path: string, init: RequestInit, token?: string): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string>), ...(token && { Authorization: `Bearer ${token}` }) }
    return this.env.fetch!(base + path, { credentials: 'omit', ...init, headers })
  }

  // --- requests

  nextRef(): number {
    do this.ref = (this.ref % 0xffffffff) + 1
    while (this.pending.has(this.ref))
    return this.ref
  }

  /** Sends a frame and waits for its answer, across connections. */
  request(f: Frame, signal?: AbortSignal): Promise<Frame> {
    return new Promise((yes, no) => {
      if (this.over) throw this.over
      signal?.throwIfAborted()
      const ref = this.nextRef()
      const r: Request = {
        frame: { ...f, ref },
        settle: (answer, error) => {
          this.pending.delete(ref)
          signal?.removeEventListener('abort', aborted)
          if (answer) yes(answer)
          else no(error)
        },
      }
      const aborted = () => r.settle(undefined, signal!.reason)
      signal?.addEventListener('abort', aborted)
      this.pending.set(ref, r)
      this.link?.ask(r)
      this.sync()
    })
  }

  /** Gives an answer to the request that waits for it. */
  settle(ref: number, answer?: Frame, error?: Error): boolean {
    const r = this.pending.get(ref)
    r?.settle(answer, error)
    return !!r
  }

  /** Makes a request over HTTP, and makes it again while the network or something between us and the relay fails. */
  async post(link: Link, r: Request): Promise<void> {
    const { t, channel, cursor, last, limit, id, key, event, ttl_ms, quiet, ack } = r.frame
    const at = `/v1/channels/${encodeURIComponent(channel)}/`
    let path = `${at}${t === 'presence' ? 'presence' : 'messages'}`
    let init: RequestInit = {}
    if (t === 'pub') {
      const all: Record<string, string | undefined> = {
        'Chappe-Id': id,
        'Chappe-Key': key,
        'Chappe-Event': event,
        'Chappe-Ttl': ttl_ms && String(ttl_ms),
        'Chappe-Ack': ack,
        'Chappe-Session': quiet && link.session,
      }
      const headers = Object.fromEntries(Object.entries(all).filter(([, v]) => v)) as Record<string, string>
      init = { method: 'POST', headers, body: bodyOf(r.frame) as BodyInit }
    } else if (t === 'history') {
      const q = new URLSearchParams()
      if (cursor) q.set('cursor', cursor)
      else if (last) q.set('last', String(last))
      if (limit) q.set('limit', String(limit))
      path += `?${q}`
    }
    let renewed = false
    for (let n = 0; this.link === link && this.pending.has(r.frame.ref); n++) {
      let delay = 0
      const abort = new AbortController()
      const cancel = this.env.after(10_000, () => abort.abort())
      try {
        const token = await this.auth.bearer()
        const a = await this.fetch(link.base, path, { ...init, signal: abort.signal }, token)
        const text = await a.text()
        if (a.ok) return r.settle(JSON.parse(text))
        const loss = lossOfAnswer(a.status, text, a.headers.get('Retry-After'))
        if (loss.auth && this.auth.renewable && !renewed) {
          renewed = true
          await this.auth.renew(token)
          continue
        }
        if ((loss.error as ChappeError).code) return r.settle(undefined, loss.error)
        delay = loss.delay ?? 0
      } catch {
        // nobody answered, or no token was to be had
      } finally {
        cancel()
      }
      await new Promise<void>((go) => this.env.after(delay || this.env.random() * backoff(n), go))
    }
  }

  async publish(channel: string, data: unknown, o: PublishOptions = {}): Promise<Ack> {
    const { id = this.newID(), key, event, quiet, ack, signal } = o
    const ttl_ms = o.ttl && Math.max(1, Math.round(o.ttl))
    const body = enclose(data)
    for (let n = 0; ; n++) {
      try {
        const frame: Frame = { t: 'pub', channel, id, key, event, ttl_ms, quiet: quiet || undefined, ack, ...body }
        const f = await this.request(frame, signal)
        return { stamp: f.stamp ?? '', dup: !!f.dup }
      } catch (e) {
        const { code, retryMs } = e as ChappeError
        // Over in a moment. What is quiet is sent in the name of a session, which may just be coming back.
        const passes = code === 'draining' || code === 'overloaded' || (quiet && code === 'no_session')
        if (!passes || this.over) throw e
        await new Promise<void>((go) => this.env.after(retryMs || this.env.random() * backoff(n), go))
        signal?.throwIfAborted()
      }
    }
  }

  private newID(): string {
    const bytes = Array.from({ length: 16 }, () => Math.floor(this.env.random() * 256))
    return bytes.map((b) => b.toString(16).padStart(2, '0')).join('')
  }

  async history(channel: string, o: HistoryOptions = {}): Promise<Page> {
    const { cursor, last, limit } = o
    const f = await this.request({ t: 'history', channel, cursor, last, limit }, o.signal)
    return { messages: (f.messages ?? []).map(message), cursor: f.cursor ?? '', more: !!f.more, gap: f.gap && gapOf(f.gap) }
  }

  async presence(channel: string, o: { signal?: AbortSignal } = {}): Promise<Member[]> {
    return (await this.request({ t: 'presence', channel }, o.signal)).members ?? []
  }

  // --- the end

  /** Tabs: this one has or loses the connection of all. */
  handover(): void {
    this.link?.end({ error: new ChappeError('', 'another tab has the connection'), drained: true })
    this.stop({ error: new ChappeError('', 'another tab has the connection'), drained: true })
    this.rouse(true)
  }

  finish(e: Error): void {
    if (this.over) return
    this.save()
    this.over = e
    this.set({ phase: 'closed', error: e })
    this.unwatch()
    this.cancelPlans()
    this.tabs?.close()
    this.link?.end({ error: e })
    this.stop({ error: e })
    for (const r of [...this.pending.values()]) r.settle(undefined, e)
    for (const feed of [...this.feeds.values()]) for (const c of feed.consumers) c.end(e)
    this.feeds.clear()
    this.nudge()
    this.rouse(true)
  }

  close(): void {
    this.finish(closed())
  }
}
