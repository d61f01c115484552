import { ChappeError, closed } from './errors.js'
import type { Consumer, SubOptions } from './feed.js'
import { Handlers } from './handlers.js'
import type { Machine } from './machine.js'
import { Trail } from './position.js'
import { publish } from './publish.js'
import { bytesOf, type Frame, type Member } from './wire.js'

/** A message that was received. */
export interface Message<T = any> {
  type: 'message'
  channel: string
  /** The payload: a JSON value, a string for other text, a Uint8Array for other bytes, undefined for none. */
  data: T
  /** Its identity, the same everywhere: `origin.tick.seq`. */
  stamp: string
  /** When a relay accepted it, by that relay's clock. */
  time: Date
  /** Idempotency id. */
  id?: string
  /** Conflation key. */
  key?: string
  /** Event name. */
  event?: string
  /** User of the publisher; undefined if anonymous or a back end. */
  from?: string
}

/** A loss: messages that would have come at this place, and will not. */
export interface Gap {
  type: 'gap'
  /** Where; empty: anywhere in this client's subscriptions. */
  channels: string[]
  /** Messages; 0: unknown. */
  count: number
  /** Why: docs/protocol.md#7-gaps-policies-and-counts. */
  reason: string
}

/** Who came to a channel, or left it. */
export interface Presence {
  type: 'presence'
  channel: string
  action: 'list' | 'join' | 'leave'
  members: Member[]
}

/** What a channel delivers. */
export type ChannelEvent<T = any> = Message<T> | Gap | Presence

/** Options of a channel. */
export interface ChannelOptions extends SubOptions {
  /** Messages held for a loop that is slower than its channel; beyond them the client leaves the channel and resumes later. Default 1024. */
  buffer?: number
  /** Ends the subscription. */
  signal?: AbortSignal
}

/** Options of one message. */
export interface PublishOptions {
  /** Idempotency id, at most 64 bytes: the same id is one message for 2 min. Made if missing. */
  id?: string
  /** Conflation key, at most 64 bytes. */
  key?: string
  /** Event name, at most 64 of `A-Z a-z 0-9 . _ -`. */
  event?: string
  /** Not delivered later than this, in ms. */
  ttl?: number
  /** Not delivered to this client. */
  quiet?: boolean
  /** When it counts as accepted. Default `local`; the others need a mesh. */
  ack?: 'local' | 'stored' | 'replicated'
  signal?: AbortSignal
}

/** What the relay says to a message. */
export interface Ack {
  stamp: string
  /** The id was known: the stamp is that of the first copy. */
  dup: boolean
}

/** Options of a history page. */
export interface HistoryOptions {
  /** After this cursor; it wins over `last`. */
  cursor?: string
  /** The newest N. */
  last?: number
  /** At most this many in the page. */
  limit?: number
  signal?: AbortSignal
}

/** A part of a channel's history, oldest first. */
export interface Page<T = any> {
  messages: Message<T>[]
  /** Of the next page, or of a subscription that continues here. */
  cursor: string
  more: boolean
  /** Messages after the given cursor are no longer kept. */
  gap?: Gap
}

export function messageOf({ channel, stamp, id, key, event, from, data, enc }: Frame): Message {
  const time = new Date(stamp.split('.')[1] / 1000)
  return { type: 'message', channel, data: enc === 'base64' ? bytesOf(data) : data, stamp, time, id, key, event, from }
}

export const gapOf = ({ channels = [], count = 0, reason }: Frame): Gap => ({ type: 'gap', channels, count, reason })

interface Events<T> {
  message: (m: Message<T>) => void
  gap: (g: Gap) => void
  presence: (p: Presence) => void
  /** The subscription ended: refused, or taken away. */
  error: (e: Error) => void
}

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
export class Channel<T = any> implements AsyncIterable<Message<T>>, Consumer {
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
  on<K extends keyof Events<T>>(what: K, f: Events<T>[K]): this {
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
  off<K extends keyof Events<T>>(what: K, f: Events<T>[K]): this {
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
    const { channel, action, members = [] } = f
    const event: ChannelEvent =
      f.t === 'msg' ? messageOf(f) : f.t === 'gap' ? gapOf(f) : { type: 'presence', channel, action, members }
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
