import { eventReader } from './events.js'
import type { Feed } from './feed.js'
import { get } from './http.js'
import { Link, connecting, pausing } from './link.js'
import { advice, lossBy, lossOfAnswer, type Loss } from './loss.js'
import { before } from './position.js'
import { probe } from './race.js'
import { post, type Request } from './request.js'
import { rewind } from './rewind.js'
import type { Frame } from './wire.js'

const silence = 45_000 // until the relay has told a limit of its own
const longest = 8000 // bytes of a query: what is longer is the body of a POST, for who is on the way may take no longer URL
const hold = 35_000 // a poll is held for 25 s, and needs time for the way there and back

/**
 * The link over event streams or polls: requests that follow all subscriptions
 * together, from one cursor. A change of the set opens a new one at the same
 * place. Requests of the application go over HTTP.
 */
export class StreamLink extends Link {
  private gone!: AbortController // of the present request
  private changed?: boolean // the present request is not the right one any more
  private place?: string // where the relay said that all stand; none if something has moved since
  private poll = '' // session of the last answer: the next poll goes on with it
  private retry?: number
  private posted: Promise<unknown> = Promise.resolve() // when what was published before has its answer

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

  /** What the next request follows: what is new begins where the others stand; if all is, those that begin in the same way. */
  private batch(): Feed[] {
    const all = this.m.wants()
    const fresh = all.filter((f) => !f.cursor())
    if (fresh.length === all.length) return all.filter((f) => f.wish('last') === all[0]!.wish('last'))
    for (const feed of fresh) if (feed.wish('last')) void rewind(this.m, feed, feed.active)
    return this.m.wants()
  }

  /** Nothing to follow: a relay that answers is all that is wanted. */
  private async idle(): Promise<void> {
    this.follows.clear()
    this.within()
    const well = await probe(this.base, this.gone.signal)
    if (!well) throw this.cut()
    this.region = well.region
    if (!this.live) this.m.adopt(this, 0)
    this.cancel(connecting)
    await this.rest(15_000)
  }

  /** Waits until the request is not the right one any more, or for ms. */
  private rest(ms: number): Promise<void> {
    return new Promise((go) => {
      this.after(pausing, this.changed ? 0 : ms, go)
      this.gone.signal.addEventListener('abort', () => go())
    })
  }

  /** Makes one request for feeds. undefined: it was refused, and what follows from that is done. */
  private async request(feeds: Feed[], path: string, more: Record<string, string>, within?: number | false): Promise<Response | undefined> {
    const q = new URLSearchParams(more)
    const add = (name: string, value: unknown) => value && q.append(name, `${value}`)
    this.heard()
    this.within(within)
    this.follows.clear()
    for (const feed of feeds) {
      this.follows.set(feed, { ref: 0, early: [], terms: feed.terms })
      add('channel', feed.name)
      if (feeds.some((f) => f.pass)) q.append('pass', feed.pass ?? '')
    }
    const cursor = this.place || before(feeds.map((f) => f.cursor()))
    const [policy, ...others] = new Set(feeds.map((f) => f.wish('policy')))
    add('policy', !others.length && policy)
    add('presence', feeds.some((f) => f.wish('presence')) && 1)
    add(cursor ? 'cursor' : 'last', cursor || feeds[0]!.wish('last'))
    const token = await this.m.auth.bearer()
    const far = `${q}`.length > longest
    const r = await get(this.base, far ? path : `${path}?${q}`, this.gone.signal, token, far ? { method: 'POST', body: q } : {})
    if (r.status === 200) return r
    this.blame(feeds, await lossOfAnswer(r), token)
    return undefined
  }

  /** Finds who a refusal of the whole request is for: the subscriptions that were new in it, if any. Those that stood before go on without them. */
  private blame(feeds: Feed[], loss: Loss, token: string): void {
    const fresh = feeds.filter((f) => !f.began)
    // Without a token it is not the token that is wrong.
    if (fresh.length && (loss.terminal || (loss.auth && !token))) for (const feed of fresh) this.m.refuse(feed, loss.error)
    else this.end(loss)
  }

  private async events(feeds: Feed[]): Promise<void> {
    const r = await this.request(feeds, '/v1/sse', {})
    if (!r) return
    this.watch(silence)
    const read = eventReader((data, id, retry) => {
      this.retry = advice(retry)
      if (this.ended || this.changed) return
      if (data) this.handle(JSON.parse(data))
      if (id) this.progressed(id)
    })
    const write = (text: string) => {
      this.heard()
      read(text)
      if (this.live) this.cancel(connecting)
    }
    await r.body!.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }))
    throw this.cut()
  }

  /** What the relay said last counts. */
  private cut(): Error {
    return lossBy(0, this.last ?? { text: `${this.base}: cut` }).error
  }

  private async once(feeds: Feed[]): Promise<void> {
    // The first answer is the welcome: it must not be held.
    const r = await this.request(feeds, '/v1/poll', { session: this.poll, wait: this.live ? '25' : '0' }, this.live && hold)
    if (!r) return
    const { frames, cursor, retry_ms, session } = (await r.json()) as { frames: Frame[]; cursor: string; retry_ms: number; session: string }
    this.cancel(connecting)
    if (this.ended || this.changed) return
    this.poll = session
    // An answer follows all that was asked for, but for what it refuses; it says so only where a session begins.
    if (!frames.some((f) => f.t === 'welcome')) {
      if (!this.live) this.m.adopt(this, 0)
      for (const [feed] of this.follows) if (!frames.some((f) => f.t === 'err' && f.channel === feed.name)) this.stand(feed, cursor)
    }
    for (const f of frames) if (!this.ended) this.handle(f)
    if (this.ended || this.changed) return
    this.progressed(cursor)
    if (this.last) throw this.cut()
    if (retry_ms) await this.rest(advice(retry_ms))
  }

  protected override watch(ms: number): void {
    if (this.kind === 'sse') super.watch(ms) // a poll is watched by its hold
  }

  protected override sessionError(f: Frame): void {
    const loss = lossBy(0, f)
    if (loss.auth || loss.terminal) this.end(loss)
  }

  protected override progressed(cursor: string): void {
    super.progressed(cursor)
    this.place = cursor
    this.sync() // what waited for a place joins
  }

  sync(again?: Feed): void {
    const all = this.m.wants()
    if (again || all.length !== this.follows.size || all.some((f) => this.follows.get(f)?.terms !== f.terms)) this.check()
  }

  /** Opens a new request at the same place. */
  check(): void {
    this.place = undefined
    this.changed = true
    this.gone.abort()
  }

  ask(r: Request): void {
    // Publications one after the other: requests of their own may overtake one another.
    if (r.frame.t === 'pub') this.posted = this.posted.then(() => post(this, r))
    else void post(this, r)
  }

  protected refresh(): void {
    this.check() // with the new token
  }

  protected shut(): void {
    this.gone.abort()
  }
}
