import type { Ack, ChannelEvent, ChannelEvents, ChannelOptions, HistoryOptions, Member, Message, Page, PublishOptions } from './api.js'
import { ChappeError, closed } from './errors.js'
import { eventOf, gapOf, messageOf } from './event.js'
import { Handlers } from './handlers.js'
import type { Machine } from './machine.js'
import { Trail } from './position.js'
import { publish } from './publish.js'
import type { Frame } from './wire.js'

interface Item {
  event: ChannelEvent
  progress?: string // told by the relay behind this event and before the next
}

/**
 * A named stream of messages, or a pattern of many. It is followed from the
 * first loop or handler on, and left by `close()`, by leaving the loop, or by
 * the signal.
 *
 * ```ts
 * for await (const m of client.channel('rides.42')) console.log(m.data)
 * ```
 */
export class Channel<T = any> implements AsyncIterable<Message<T>> {
  /** @internal */
  got: Trail
  /** @internal */
  paused = false
  /** @internal */
  o: ChannelOptions
  private taken: Trail
  private queue: Item[] = []
  private handlers = new Handlers()
  private wake: (() => void)[] = []
  private started: Promise<void> | undefined
  private grant!: [yes: () => void, no: (e: Error) => void]
  private ended: Error | undefined
  private looped = false // a loop runs
  private skipped = false // messages came that nobody took

  /** @internal */
  constructor(
    private readonly m: Machine,
    /** The channel or pattern that was asked for. */
    readonly name: string,
    o: ChannelOptions = {},
  ) {
    this.o = { ...o, cursor: o.cursor || m.stored(name) }
    this.got = new Trail(name)
    this.taken = new Trail(name)
  }

  /** Begins with the newest n messages, or after a cursor. Before the first loop or handler. */
  rewind(to: number | string): this {
    this.o = { ...this.o, cursor: '', [typeof to === 'string' ? 'cursor' : 'last']: to }
    return this
  }

  /**
   * Follows the channel. Resolves when the relay has granted it, and rejects
   * with a ChappeError when it refuses. Loops and handlers call it.
   */
  subscribe(): Promise<void> {
    if (this.started && (this.ended as ChappeError)?.code !== 'closed') return this.started
    const { signal, cursor } = this.o
    this.ended = undefined
    this.started = new Promise<void>((...both) => (this.grant = both))
    this.started.catch(() => {}) // told by the loop and by 'error', too
    signal?.addEventListener('abort', () => this.leave(signal.reason), { once: true })
    try {
      signal?.throwIfAborted()
      if (cursor) this.begin(cursor)
      this.m.join(this.name, this)
    } catch (e) {
      this.end(e instanceof ChappeError || signal?.aborted ? (e as Error) : new ChappeError('bad_cursor'))
    }
    return this.started
  }

  /** The place after the events that were taken from the loop, or given to a handler. Stored and given as `cursor`, to any relay of any region, it continues there. '' before the channel has begun. */
  get cursor(): string {
    return this.taken.cursor() || this.o.cursor || ''
  }

  /** Calls f for each event. `message` handlers get what a loop would. */
  on<K extends keyof ChannelEvents<T>>(what: K, f: ChannelEvents<T>[K]): this {
    this.handlers.of(what).add(f)
    if (what === 'presence') this.o.presence = true
    if (what !== 'error') void this.subscribe()
    if (what === 'message') {
      for (let e = this.take(); e; e = this.take()) this.emit(e.type, e)
      this.catchUp()
    }
    return this
  }

  /** Undoes `on`. */
  off<K extends keyof ChannelEvents<T>>(what: K, f: ChannelEvents<T>[K]): this {
    this.handlers.of(what).delete(f)
    return this
  }

  /** Publishes a message to this channel. */
  publish(data: T, o?: PublishOptions): Promise<Ack> {
    return publish(this.m, this.name, data, o)
  }

  /** A page of what the relay keeps. */
  async history({ signal, ...which }: HistoryOptions = {}): Promise<Page<T>> {
    const { messages = [], cursor = '', more = false, gap } = await this.m.request({ t: 'history', channel: this.name, ...which }, signal)
    return { messages: messages.map(messageOf), cursor, more, gap: gap && gapOf(gap) }
  }

  /** Who is in the channel. */
  async presence(o?: { signal?: AbortSignal }): Promise<Member[]> {
    return (await this.m.request({ t: 'presence', channel: this.name }, o?.signal)).members ?? []
  }

  /** Ends the subscription. What waits is dropped. */
  close(): void {
    this.leave(closed())
  }

  /** All events in their order: messages, gaps and, if asked for, presence. */
  async *events(): AsyncGenerator<ChannelEvent<T>, void, undefined> {
    void this.subscribe()
    this.looped = true
    this.catchUp()
    try {
      for (;;) {
        const event = this.take()
        if (event) yield event
        else if (!this.ended) await new Promise<void>((woken) => this.wake.push(woken))
        else if ((this.ended as ChappeError).code === 'closed') return
        else {
          this.started = undefined // told: who begins again asks again
          throw this.ended
        }
      }
    } finally {
      this.looped = false
      this.close()
    }
  }

  /** The messages. Gaps and presence go to their handlers, in their turn. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message<T>, void, undefined> {
    for await (const e of this.events()) {
      if (e.type === 'message') yield e
      else this.emit(e.type, e)
    }
  }

  /** @internal */
  begin(cursor: string): void {
    this.got.begin(cursor)
    this.taken.begin(cursor)
  }

  /** @internal */
  push(f: Frame): void {
    const event = eventOf(f)
    const messages = this.handlers.of('message').size
    if (!messages && !this.looped && this.handlers.of('presence').size) {
      // Nobody takes messages yet: who does later gets them again from the relay.
      this.skipped ||= f.t === 'msg'
      return this.emit(event.type, event)
    }
    this.queue.push({ event })
    if (messages) return this.emit(event.type, this.take())
    this.wakeAll()
    if (this.queue.length >= (this.o.buffer || 1024)) {
      this.paused = true
      this.m.sync()
    }
  }

  /** @internal */
  progress(cursor: string): void {
    this.got.progress(cursor)
    const behind = this.queue[this.queue.length - 1]
    if (behind) behind.progress = cursor
    else if (!this.skipped) this.taken.progress(cursor)
  }

  /** @internal */
  granted(): void {
    this.grant[0]()
  }

  /** @internal */
  end(e: Error, quiet = (e as ChappeError).code === 'closed'): void {
    if (this.ended) return
    this.ended = e
    this.grant[1](e)
    this.wakeAll()
    if (quiet) return
    if (this.handlers.of('error').size) this.started = undefined
    this.emit('error', e)
  }

  private catchUp(): void {
    if (!this.skipped) return
    this.skipped = false
    this.got.begin(this.taken.cursor())
    this.m.again(this.m.feeds.get(this.name))
  }

  private leave(why: Error): void {
    if (!this.started || this.ended) return
    this.queue = []
    this.paused = false
    this.o.cursor = this.cursor // where a later loop goes on
    this.m.part(this.name, this)
    this.end(why, true)
  }

  private take(): ChannelEvent | undefined {
    const { event, progress } = this.queue.shift() ?? {}
    if (event?.type === 'message') this.taken.message(event.channel, event.stamp)
    if (progress) this.taken.progress(progress)
    if (this.paused && this.queue.length <= (this.o.buffer || 1024) / 2) {
      this.paused = false
      this.m.again(this.m.feeds.get(this.name))
    }
    return event
  }

  private emit(what: string, e: unknown): void {
    this.handlers.call(what, e)
    if (what === 'gap') this.m.handlers.call(what, e)
  }

  private wakeAll(): void {
    for (const woken of this.wake.splice(0)) woken()
  }
}
