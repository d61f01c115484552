import type { State } from './api.js'
import { env } from './env.js'
import { guestOf, type Guest } from './guest.js'
import type { Machine } from './machine.js'
import type { Dial } from './socket.js'
import type { Frame } from './wire.js'

/** What tabs post: frames for the one that leads (to: ''), for one that follows, or to all that there is a new lead. */
interface Post {
  to?: string
  from?: string
  text?: string
}

const beat = 5000 // ms between two questions whether the leading tab lives

/**
 * One connection for all tabs of an origin (CLIENTS §10). The tab that holds a
 * lock has it and is the relay of the others: they speak the protocol with it,
 * over a BroadcastChannel, and resume at another tab, with their own cursors,
 * when it is gone.
 */
export class Tabs {
  follower?: boolean
  private readonly id = Math.random().toString(36)
  private name!: string
  private air?: BroadcastChannel
  private readonly guests = new Map<string, Guest>()
  private inbox?: (text: string) => void // of the present way to the leader
  private queued = new AbortController()
  private closed?: boolean
  private over!: () => void // lets go of the locks
  private readonly held = new Promise<void>((r) => (this.over = r))
  private entered?: Promise<void>
  private known?: () => void

  constructor(
    private readonly m: Machine,
    private readonly share: true | string,
  ) {}

  /** Resolves when it is known who leads. */
  ready(): Promise<void> {
    return (this.entered ??= this.enter().catch((e) => {
      this.entered = undefined // no token was to be had: it is asked again
      throw e
    }))
  }

  private async enter(): Promise<void> {
    const who = this.share === true ? await this.m.auth.who() : this.share
    if (this.closed) return
    if (who === undefined) return this.alone()
    this.name = `chappe:${this.m.o.urls[0]}:${who}`
    this.air = new env.BroadcastChannel!(this.name)
    this.air.onmessage = (e) => this.hear(e.data)
    // Free when this tab is gone: who leads waits for it.
    this.lock(this.id, {}, () => this.held)
    await new Promise<void>((known) => {
      this.known = known
      this.lock('', { ifAvailable: true }, (lock) => {
        known()
        if (lock) return this.lead()
        this.follower = true
        return this.queue()
      })
    })
  }

  private lock(of: string, o: LockOptions, f: (lock: Lock | null) => Promise<void> | void): void {
    const { signal } = this.queued
    env.locks!.request(this.name + of, o, f).catch((e) => {
      if (signal.aborted) return
      if (e.name === 'AbortError') this.deposed()
      else this.alone() // a sandboxed frame, for one, may not
    })
  }

  private queue(o?: LockOptions): void {
    this.queued.abort()
    this.queued = new AbortController()
    this.lock('', o ?? { signal: this.queued.signal }, () => this.lead())
  }

  private lead(): Promise<void> {
    if (this.follower) this.m.handover()
    this.follower = false
    this.send({})
    return this.held
  }

  /** Goes without the others: nobody can tell whether they are of the same user, or the browser does not let them share. */
  private alone(): void {
    this.m.tabs = undefined
    this.close()
    this.known?.()
  }

  /** Another tab took the lead: it had heard nothing from this one for too long. */
  private deposed(): void {
    if (this.closed) return
    this.follower = true
    this.guests.forEach((_, id) => this.bye(id))
    this.m.handover()
    this.queue()
  }

  /** Takes the lead from a tab that does not answer. */
  seize(): void {
    this.queue({ steal: true })
  }

  private send(p: Post): void {
    if (!this.closed) this.air?.postMessage(p)
  }

  private hear({ to, from = '', text = '' }: Post): void {
    if (to === this.id) this.inbox!(text)
    else if (to === undefined) this.follower && this.m.handover()
    else if (!to && !this.follower) {
      const f: Frame = JSON.parse(text)
      if (f.t === 'hello') {
        this.bye(from)
        this.guests.set(from, guestOf(this.m, (g) => this.send({ to: from, text: JSON.stringify(g) })))
        this.lock(from, {}, () => this.bye(from))
      }
      this.guests.get(from)?.serve(f)
    }
  }

  private bye(id: string): void {
    this.guests.get(id)?.leave()
    this.guests.delete(id)
  }

  /** The way to the tab that leads. */
  readonly dial: Dial = (_base, ends) => {
    let close: () => void
    const ask = () => {
      close = env.after(beat, () => {
        if (!env.hidden()) this.m.link?.check()
        ask()
      })
    }
    ask()
    this.inbox = ends.text
    queueMicrotask(ends.open)
    return { send: (text) => this.send({ to: '', from: this.id, text }), close: () => close() }
  }

  /** Tells the tabs that follow how the connection stands. */
  tell(s: State): void {
    this.guests.forEach((g) => g.tell(s))
  }

  close(): void {
    this.closed = true
    this.queued.abort()
    this.over()
    this.air?.close()
  }
}
