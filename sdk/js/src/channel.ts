import type { Ack, Channel as API, ChannelEvent, ChannelEvents, ChannelOptions, HistoryOptions, Member, Message, Page, PublishOptions } from './api.js'
import { Emitter } from './emitter.js'
import { ChappeError, closed } from './errors.js'
import { loss, type Consumer } from './feed.js'
import { eventOf, gapOf, messageOf } from './event.js'
import type { Machine } from './machine.js'
import { Trail } from './position.js'
import { onAbort } from './request.js'
import type { Frame } from './wire.js'

interface Item {
  event: ChannelEvent
  progress?: string // told by the relay behind this event and before the next
}

/** What an application follows: it takes what comes to its feed, and keeps it for a loop or gives it to handlers. */
export class Channel<T = any> extends Emitter<ChannelEvents<T>> implements API<T>, Consumer {
  got!: Trail
  paused?: boolean
  o: ChannelOptions
  private taken?: Trail
  private readonly buffer: number
  private queue: Item[] = []
  private wake: (() => void)[] = []
  private started: Promise<void> | undefined
  private grant!: [yes: () => void, no: (e: Error) => void]
  private unbind = () => {} // from the signal
  private ended: Error | undefined
  private loops = 0 // that run
  private asked?: boolean // by the application, which hears a refusal
  private stands?: boolean // the relay has granted it
  private skipped?: boolean // messages came that nobody took

  constructor(
    private readonly m: Machine,
    readonly name: string,
    o: ChannelOptions = {},
  ) {
    super()
    this.o = { ...o, cursor: o.cursor || m.stored(name) }
    this.buffer = o.buffer || 1024
  }

  rewind(to: number | string): this {
    this.o = { ...this.o, cursor: '', [typeof to === 'string' ? 'cursor' : 'last']: to }
    return this
  }

  subscribe(): Promise<void> {
    this.asked = true
    if (this.ended && !this.loops) this.started = undefined
    return this.follow()
  }

  get cursor(): string {
    return this.taken?.cursor() || this.o.cursor || ''
  }

  override on<K extends keyof ChannelEvents<T>>(what: K, f: ChannelEvents<T>[K], once?: boolean): this {
    super.on(what, f, once)
    this.o.presence ||= what === 'presence'
    if (what !== 'error') void this.follow()
    if (what === 'message') {
      this.drain()
      this.catchUp()
    }
    this.m.sync()
    return this
  }

  publish(data: T, o?: PublishOptions): Promise<Ack> {
    return this.m.publish(this.name, data, o)
  }

  async history({ signal, ...which }: HistoryOptions = {}): Promise<Page<T>> {
    const { messages = [], cursor, more, gap } = await this.m.request({ t: 'history', channel: this.name, ...which }, signal)
    return { messages: messages.map(messageOf), cursor, more: !!more, gap: gap && gapOf(gap) }
  }

  async presence(o?: { signal?: AbortSignal }): Promise<Member[]> {
    return (await this.m.request({ t: 'presence', channel: this.name }, o?.signal)).members ?? []
  }

  close(): void {
    this.leave(closed())
  }

  events(): AsyncIterableIterator<ChannelEvent<T>> {
    return this.loop(true)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>> {
    return this.loop()
  }

  /** No generator: that one would leave only when something comes. */
  private loop(all?: boolean): AsyncIterableIterator<any> {
    let over = false
    const leave = () => {
      if (!over && !--this.loops) this.close()
      over = true
    }
    this.loops++
    void this.follow()
    this.catchUp()
    const loop = {
      next: async () => {
        while (!over) {
          const value = this.take()
          if (value && (all || value.type === 'message')) return { value, done: false }
          if (value) this.tell(value)
          else if (!this.ended) await new Promise<void>((woken) => this.wake.push(woken))
          else {
            const { ended } = this
            this.started = undefined // told: who begins again asks again
            leave()
            if ((ended as ChappeError).code !== 'closed') throw ended
          }
        }
        return { value: undefined, done: true }
      },
      async return() {
        leave()
        return loop.next()
      },
      [Symbol.asyncIterator]: () => loop,
    }
    return loop
  }

  push(f: Frame): void {
    const event = eventOf(f)
    if (!this.hears('message') && !this.loops && (this.hears('gap') || this.hears('presence'))) {
      // Nobody takes messages yet: who does later gets them again from the relay.
      this.skipped ||= f.t === 'msg'
      return this.tell(event)
    }
    this.queue.push({ event })
    if (this.hears('message')) return this.drain()
    this.wakeAll()
    if (this.queue.length >= this.buffer) {
      this.paused = true
      this.m.sync()
    }
  }

  progress(cursor: string): void {
    this.got.progress(cursor)
    const behind = this.queue[this.queue.length - 1]
    if (behind) behind.progress = cursor
    else if (!this.skipped) this.taken!.progress(cursor)
  }

  granted(): void {
    this.stands = true
    this.grant[0]()
  }

  end(e: Error, quiet = (e as ChappeError).code === 'closed'): void {
    if (this.ended) return
    this.ended = e
    this.unbind()
    this.grant[1](e)
    this.wakeAll()
    if (quiet) return
    const { asked, stands } = this
    const heard = this.loops || this.hears('error')
    // A later loop tells it; else who begins again asks again.
    if (heard || !asked || !stands) this.started = undefined
    if (!heard && (!asked || stands)) this.m.o.log(`chappe: ${this.name}: ${e.message}`)
    this.emit('error', e)
  }

  private follow(): Promise<void> {
    if (this.started && (this.ended as ChappeError)?.code !== 'closed') return this.started
    const { signal } = this.o
    this.ended = undefined
    this.stands = false
    this.got = new Trail(this.name)
    this.taken = new Trail(this.name)
    this.started = new Promise<void>((...both) => (this.grant = both))
    this.started.catch(() => {}) // told by the loop, by 'error', or in the log
    const { started } = this
    try {
      this.unbind = onAbort(signal, (why) => this.leave(why))
      this.place()
      this.m.join(this.name, this)
    } catch (e) {
      this.end(e as Error)
    }
    return started
  }

  /** Begins where it is wished. A stored place that is none is forgotten, and what was lost is told. */
  private place(): void {
    const { cursor } = this.o
    try {
      if (!cursor) return
      this.got.begin(cursor)
      this.taken!.begin(cursor)
    } catch {
      if (cursor !== this.m.stored(this.name)) throw new ChappeError('bad_cursor')
      this.o.cursor = ''
      this.m.keep(this.name, '')
      queueMicrotask(() => this.push(loss(this.name, 0, 'damaged')))
    }
  }

  private catchUp(): void {
    const at = this.taken!.cursor()
    if (!this.skipped || !at) return
    this.skipped = false
    this.got.begin(at)
    this.m.sync(this.name)
  }

  private leave(why: Error): void {
    if (!this.started || this.ended) return
    this.queue = []
    this.paused = false
    this.m.keep(this.name, (this.o.cursor = this.cursor)) // where a later loop, or page, goes on
    this.m.part(this.name, this)
    this.end(why, true)
  }

  /** Gives what waits to handlers, while there are any: one may want a single message. */
  private drain(): void {
    for (let e; this.hears('message') && (e = this.take()); ) this.tell(e)
  }

  private take(): ChannelEvent | undefined {
    const { event, progress } = this.queue.shift() ?? {}
    if (event?.type === 'message') this.taken!.message(event.channel, event.stamp)
    if (progress) this.taken!.progress(progress)
    if (this.paused && this.queue.length <= this.buffer / 2) {
      this.paused = false
      this.m.sync(this.name)
    }
    return event
  }

  private tell(e: ChannelEvent): void {
    this.emit(e.type, e)
    if (e.type === 'gap') this.m.emit(e.type, e)
  }

  private wakeAll(): void {
    for (const woken of this.wake.splice(0)) woken()
  }
}
