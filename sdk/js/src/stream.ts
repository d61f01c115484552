import { ChappeError } from './errors.js'
import { EventParser } from './events.js'
import type { Feed } from './feed.js'
import { get } from './http.js'
import { Link, connectTimeout } from './link.js'
import { advice, badCredentials, lossOf, lossOfAnswer, type Loss } from './loss.js'
import { before } from './position.js'
import { post, type Request } from './request.js'
import { rewind } from './rewind.js'
import type { Frame } from './wire.js'

const silence = 45_000 // until the relay has told a limit of its own
const hold = 25_000 + connectTimeout // a poll is held this long, and needs time for the way there and back

/**
 * The link over event streams or polls: requests that follow all subscriptions
 * together, from one cursor. A change of the set opens a new one at the same
 * place. Requests of the application go over HTTP.
 */
export class StreamLink extends Link {
  private gone = new AbortController() // of the present request
  private changed = false // the present request is not the right one any more
  private place = '' // where the relay said that all stand; '' if something has moved since
  private poll = '' // session of the last answer: the next poll goes on with it
  private retry = 0

  start(): void {
    this.run().catch((error) => this.end({ error, mute: !this.live, delay: advice(this.last?.retry_ms) || this.retry }))
  }

  private async run(): Promise<void> {
    while (!this.ended) {
      this.gone = new AbortController()
      this.changed = false
      try {
        const feeds = this.batch()
        if (!feeds.length) await this.idle()
        else if (this.kind === 'sse') await this.events(feeds)
        else await this.once(feeds)
      } catch (e) {
        if (!this.changed) throw e
      }
    }
  }

  /**
   * What the next request follows: what has a place, if anything has. What is new
   * begins where the stream stands; before there is such a place, it waits.
   */
  private batch(): Feed[] {
    const all = this.m.wants()
    const fresh = all.filter((f) => !f.cursor())
    if (fresh.length === all.length) return all.filter((f) => f.wish('last') === all[0]!.wish('last'))
    for (const feed of this.told ? fresh : []) {
      if (feed.wish('last')) rewind(this.m, feed, feed.active)
      else for (const c of feed.active) c.begin(this.told)
    }
    return all.filter((f) => f.cursor())
  }

  /** Nothing to follow: a relay that answers is all that is wanted. */
  private async idle(): Promise<void> {
    this.within(connectTimeout)
    if (!this.live) {
      const r = await get(this.base, '/v1/probe', this.gone.signal)
      if (!r.ok) throw new Error(`${this.base}: HTTP status ${r.status}`)
      this.region = (await r.json()).region
      this.m.adopt(this, 0)
    }
    this.cancel('connect')
    await new Promise<void>((go) => this.gone.signal.addEventListener('abort', () => go()))
  }

  /** Aborts the request unless it is answered within ms. */
  private within(ms: number): void {
    const { gone } = this
    this.heard()
    this.after('connect', ms, () => gone.abort(new Error(`${this.base}: no answer in time`)))
  }

  /** Makes one request for feeds. undefined: it was refused, and what follows from that is done. */
  private async request(feeds: Feed[], path: string, more: Record<string, string>, within: number): Promise<Response | undefined> {
    const q = new URLSearchParams(more)
    this.within(within)
    this.subs.clear()
    for (const feed of feeds) {
      this.subs.set(feed, { ref: 0, terms: feed.terms })
      q.append('channel', feed.name)
      if (feeds.some((f) => f.pass)) q.append('pass', feed.pass)
    }
    const cursor = this.place || before(feeds.map((f) => f.cursor()))
    const [policy, ...others] = new Set(feeds.map((f) => f.wish('policy')))
    if (policy && !others.length) q.set('policy', policy)
    if (feeds.some((f) => f.wish('presence'))) q.set('presence', '1')
    if (!cursor && feeds[0]!.wish('last')) q.set('last', `${feeds[0]!.wish('last')}`)
    const headers: Record<string, string> = {}
    if (cursor && this.kind === 'sse') headers['Last-Event-ID'] = cursor
    else if (cursor) q.set('cursor', cursor)
    const token = await this.m.auth.bearer()
    const r = await get(this.base, `${path}?${q}`, this.gone.signal, { headers, token })
    if (r.status === 200) return r
    this.blame(feeds, lossOfAnswer(r.status, await r.text(), r.headers.get('Retry-After')))
    return undefined
  }

  /** Finds who a refusal of the whole request is for: the subscriptions that were new in it, if any. Those that stood before go on without them. */
  private blame(feeds: Feed[], loss: Loss): void {
    const error = loss.error as ChappeError
    const anonymous = error.code === 'token_required' && !this.m.auth.renewable
    const fresh = feeds.filter((f) => !f.began)
    if (fresh.length && (anonymous || (loss.terminal && !loss.auth))) for (const feed of fresh) this.m.refuse(feed, error)
    else this.end(loss)
  }

  private async events(feeds: Feed[]): Promise<void> {
    const r = await this.request(feeds, '/v1/sse', {}, connectTimeout)
    if (!r) return
    if (!/^text\/event-stream/.test(r.headers.get('Content-Type') ?? '')) throw new Error(`${this.base}: no event stream`)
    const lines = new EventParser()
    const text = new TextDecoder()
    const reader = r.body!.getReader()
    let subbed: Frame[] = []
    this.watch(silence)
    for (;;) {
      const { done, value } = await reader.read()
      if (done) throw this.cut()
      this.heard()
      lines.read(text.decode(value, { stream: true }), (data, id) => {
        if (this.ended || this.changed) return
        const f: Frame | undefined = data ? JSON.parse(data) : undefined
        if (f?.t === 'subbed') subbed.push(f)
        // What is granted counts from the first id on: before, there is no place to come back to.
        if (id) {
          subbed.forEach((s) => this.handle(s))
          subbed = []
        }
        if (f && f.t !== 'subbed') this.handle(f)
        if (id) this.progressed(id)
      })
      this.retry = advice(lines.retry)
      if (this.live) this.cancel('connect')
    }
  }

  /** What the relay said last counts. */
  private cut(): Error {
    const { code, text, retry_ms }: Partial<Frame> = this.last ?? { code: '', text: `${this.base}: the stream was cut` }
    return new ChappeError(code, text, advice(retry_ms))
  }

  private async once(feeds: Feed[]): Promise<void> {
    // The first answer is the welcome: it must not be held.
    const r = await this.request(feeds, '/v1/poll', { session: this.poll, ...(!this.live && { wait: '0' }) }, hold)
    if (!r) return
    const { frames, cursor, retry_ms, session } = (await r.json()) as { frames: Frame[]; cursor: string; retry_ms: number; session: string }
    this.cancel('connect')
    if (this.ended || this.changed) return
    this.poll = session
    // An answer follows all that was asked for, but for what it refuses; it says so only where a session begins.
    if (!frames.some((f) => f.t === 'welcome')) {
      if (!this.live) this.m.adopt(this, 0)
      for (const [feed] of this.subs) if (!frames.some((f) => f.t === 'err' && f.channel === feed.name)) this.stand(feed, cursor)
    }
    for (const f of frames) if (!this.ended) this.handle(f)
    if (this.ended || this.changed) return
    this.progressed(cursor)
    if (this.last) throw this.cut()
    if (!retry_ms) return
    await new Promise<void>((go) => {
      this.after('pause', advice(retry_ms), go)
      this.gone.signal.addEventListener('abort', () => go())
    })
  }

  protected override watch(ms: number): void {
    if (this.kind === 'sse') super.watch(ms) // a poll is watched by its hold
  }

  protected override sessionError(f: Frame): void {
    const auth = badCredentials(f.code)
    if (auth || f.terminal) this.end({ ...lossOf(''), error: new ChappeError(f.code, f.text), auth, terminal: !auth, delay: advice(f.retry_ms) })
  }

  protected override progressed(cursor: string): void {
    super.progressed(cursor)
    this.place = cursor
    this.sync() // what waited for a place joins
  }

  sync(): void {
    const all = this.m.wants()
    if (this.ended || (all.length === this.subs.size && all.every((f) => this.subs.get(f)?.terms === f.terms))) return
    this.drop()
  }

  drop(): void {
    this.place = ''
    this.changed = true
    this.gone.abort()
  }

  ask(r: Request): void {
    void post(this, r)
  }

  protected refresh(): void {
    this.drop() // opens again with the new token, at the same place
  }

  check(): void {
    this.drop()
  }

  protected shut(): void {
    this.gone.abort()
  }
}
