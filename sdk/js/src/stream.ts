import { ChappeError, advice, badCredentials, lossOfAnswer, type Loss } from './errors.js'
import { EventParser } from './events.js'
import type { Feed } from './feed.js'
import { Link, connectTimeout } from './link.js'
import type { Request } from './machine.js'
import { before } from './position.js'
import type { Frame } from './wire.js'

const silence = 45_000 // until the relay has told a limit of its own
const hold = 25_000 + connectTimeout // a poll is held this long, and needs time for the way there and back

/** Why a request of a stream ended: the next one follows at once. */
const changed = Symbol()

/**
 * The link over event streams or polls: requests that follow all subscriptions
 * together, from one cursor. A change of the set opens a new one at the same
 * place. Requests of the application go over HTTP.
 */
export class StreamLink extends Link {
  private abort: AbortController | undefined
  private polls = '' // session of the last poll's answer: the next one goes on with it
  private first = true
  private retry = 0
  private dead = 0
  private drained: Frame | undefined

  start(): void {
    this.run().catch((e) => this.end({ error: e as Error, mute: !this.live, delay: this.retry || advice(this.last?.retry_ms) }))
  }

  private async run(): Promise<void> {
    while (!this.ended) {
      const feeds = this.batch()
      this.abort = new AbortController()
      try {
        if (!feeds.length) await this.idle()
        else if (this.kind === 'sse') await this.events(feeds)
        else await this.poll(feeds)
      } catch (e) {
        if (this.abort.signal.reason !== changed) throw e
      }
    }
  }

  /**
   * What the next request follows: what has a place, if anything has. What is new
   * begins where the stream stands; before there is such a place, it waits.
   */
  private batch(): Feed[] {
    const wanted = this.m.wants()
    const placed = wanted.filter((f) => f.cursor())
    if (!placed.length) return wanted.filter((f) => f.last === wanted[0]!.last)
    for (const feed of wanted) {
      if (!feed.cursor() && this.told) {
        if (feed.last) this.m.rewind(feed)
        else for (const c of feed.active) c.begin(this.told)
      }
    }
    return wanted.filter((f) => f.cursor())
  }

  /** Nothing to follow: a relay that answers is all that is wanted. */
  private async idle(): Promise<void> {
    if (!this.live) {
      const r = await this.m.fetch(this.base, '/v1/probe', { signal: this.expect(connectTimeout) })
      if (!r.ok) throw new ChappeError('', `${this.base}: HTTP status ${r.status}`)
      const { region } = JSON.parse(await r.text())
      this.region = region ?? ''
      this.m.adopt(this, 0)
    }
    await new Promise<void>((_, no) => this.abort!.signal.addEventListener('abort', () => no(changed)))
  }

  /** Makes one request for feeds and returns its answer of status 200; undefined if there is another one to make. */
  private async get(feeds: Feed[], path: string, more: Record<string, string>, within: number): Promise<Response | undefined> {
    const q = new URLSearchParams()
    this.subs.clear()
    for (const feed of feeds) {
      q.append('channel', feed.name)
      if (feeds.some((f) => f.pass)) q.append('pass', feed.pass)
      this.subs.set(feed, { ref: 0, standing: false, presence: feed.presence, policy: feed.policy })
    }
    const cursor = before(feeds.map((f) => f.cursor()))
    if (!cursor && feeds[0]!.last) q.set('last', String(feeds[0]!.last))
    const policies = new Set(feeds.map((f) => f.policy))
    if (policies.size === 1 && feeds[0]!.policy) q.set('policy', feeds[0]!.policy)
    if (feeds.some((f) => f.presence)) q.set('presence', '1')
    for (const [k, v] of Object.entries(more)) q.set(k, v)
    const headers: Record<string, string> = {}
    if (cursor && this.kind === 'sse') headers['Last-Event-ID'] = cursor
    else if (cursor) q.set('cursor', cursor)
    const signal = this.expect(within)
    const r = await this.m.fetch(this.base, `${path}?${q}`, { headers, signal, cache: 'no-store' }, await this.m.auth.bearer())
    if (r.status === 200) return r
    return this.blame(feeds, lossOfAnswer(r.status, await r.text(), r.headers.get('Retry-After')))
  }

  /** Finds who a refusal of the whole request is for: the subscriptions that were new in it, if any. Those that stood before go on without them. */
  private blame(feeds: Feed[], loss: Loss): undefined {
    const error = loss.error as ChappeError
    const anonymous = error.code === 'token_required' && !this.m.auth.renewable
    const fresh = feeds.filter((f) => !f.began)
    if (fresh.length && (anonymous || (loss.terminal && !loss.auth))) for (const feed of fresh) this.m.refuse(feed, error)
    else this.end(loss)
  }

  /** The signal of a request that must be answered within ms. */
  private expect(ms: number): AbortSignal {
    const abort = this.abort!
    this.heard()
    const cancel = this.after(ms, () => abort.abort(new Error(`${this.base}: no answer in time`)))
    abort.signal.addEventListener('abort', cancel)
    this.calm = cancel
    return abort.signal
  }
  private calm = () => {}

  private async events(feeds: Feed[]): Promise<void> {
    const r = await this.get(feeds, '/v1/sse', {}, connectTimeout)
    if (!r) return
    if (!r.headers.get('Content-Type')?.startsWith('text/event-stream')) throw new Error(`${this.base}: not an event stream`)
    const mine = this.abort!
    const lines = new EventParser()
    const text = new TextDecoder()
    const reader = r.body!.getReader()
    const subbed: Frame[] = []
    for (;;) {
      const { done, value } = await reader.read()
      if (this.ended || mine.signal.aborted) break
      if (done) throw this.cut(lines.retry)
      this.heard()
      lines.read(text.decode(value, { stream: true }), (data, id) => {
        if (this.ended || mine.signal.aborted) return
        // What is granted counts from the first id on: before, there is no place to come back to.
        if (id) for (const f of subbed.splice(0)) this.handle(f)
        const f: Frame | undefined = data === undefined ? undefined : JSON.parse(data)
        if (f?.t === 'subbed') subbed.push(f)
        else if (f) this.handle(f)
        if (id && !this.ended) this.progressed(id)
      })
      this.retry = lines.retry
      if (!this.live) continue
      this.calm()
      if (!this.dead) this.watch(silence)
    }
    void reader.cancel().catch(() => {})
  }

  /** What the relay said last counts, then the retry field: the relay draws it per client, so it is not spread again. */
  private cut(retry: number): Error {
    this.retry = advice(retry)
    const f = this.last
    return f ? new ChappeError(f.code, f.text, advice(f.retry_ms)) : new ChappeError('', `${this.base}: the stream was cut`)
  }

  /** The relay's own limit; polls are watched by their hold. */
  protected override watch(ms: number): void {
    if (this.kind === 'poll') return
    this.dead = ms
    super.watch(ms)
  }

  private async poll(feeds: Feed[]): Promise<void> {
    const more: Record<string, string> = { session: this.polls }
    if (this.first) more.wait = '0' // the answer is the welcome
    const r = await this.get(feeds, '/v1/poll', more, hold)
    if (!r) return
    const a: { frames: Frame[]; cursor?: string; retry_ms?: number; session?: string } = JSON.parse(await r.text())
    this.calm()
    this.first = false
    this.polls = a.session ?? ''
    if (this.ended || this.abort!.signal.aborted) return
    if (!this.live && !a.frames.some((f) => f.t === 'welcome')) this.m.adopt(this, 0)
    // An answer follows all that was asked for, but for what it refuses; it says so only where a session begins.
    const subbed = a.frames.filter((f) => f.t === 'subbed')
    const rest = a.frames.filter((f) => f.t !== 'subbed')
    for (const f of rest) if (f.t === 'welcome') this.handle(f)
    const said = (name: string) => a.frames.some((f) => (f.t === 'err' || f.t === 'subbed') && f.channel === name)
    for (const f of subbed) this.handle(f)
    for (const [feed, sub] of this.subs) if (!sub.standing && !said(feed.name)) this.stand(feed, sub, a.cursor)
    for (const f of rest) if (f.t !== 'welcome' && !this.ended) this.handle(f)
    if (this.ended) return
    if (a.cursor) this.progressed(a.cursor)
    if (this.last) throw this.cut(0)
    const pause = this.drained ? advice(this.drained.delay_ms) : advice(a.retry_ms)
    if (pause) {
      await new Promise<void>((go) => {
        this.after(pause, go)
        this.abort!.signal.addEventListener('abort', () => go())
      })
    }
  }

  protected override sessionError(f: Frame): void {
    const auth = badCredentials(f.code)
    if (!f.terminal && !auth) return
    this.end({ error: new ChappeError(f.code, f.text), delay: advice(f.retry_ms), auth, terminal: f.terminal && !auth })
  }

  override handle(f: Frame): void {
    if (f.t === 'drain') this.drained = f
    super.handle(f)
  }

  /** What waited for a place to begin at joins as soon as there is one. */
  protected override progressed(cursor: string): void {
    super.progressed(cursor)
    if (this.m.wants().some((f) => !this.subs.has(f))) this.reopen()
  }

  private reopen(): void {
    this.abort?.abort(changed)
  }

  sync(): void {
    const wanted = this.m.wants()
    const same = (f: Feed) => {
      const sub = this.subs.get(f)
      return sub && sub.presence === f.presence && sub.policy === f.policy
    }
    if (wanted.length !== this.subs.size || !wanted.every(same)) this.reopen()
  }

  drop(): void {
    this.reopen()
  }

  ask(r: Request): void {
    void this.m.post(this, r)
  }

  protected refresh(): void {
    this.reopen() // with the new token, at the same place
  }

  check(): void {
    this.reopen()
  }

  protected shut(): void {
    this.abort?.abort(new Error('over'))
  }
}
