import type { SubOptions } from './api.js'
import { before, type Trail } from './position.js'
import { patternOf, type Frame } from './wire.js'

/** Somebody who follows a channel: a Channel of this page, or another tab. */
export interface Consumer {
  readonly o: SubOptions
  /** After what was received. */
  readonly got: Trail
  /** After what was taken, where that is kept. */
  readonly cursor?: string
  /** It takes nothing now, and will be given again from `got`. */
  paused?: boolean
  push(f: Frame): void
  /** Where the stream is, or begins. */
  progress(cursor: string): void
  /** The relay has granted it. May be told again. */
  granted(): void
  end(e: Error): void
}

/** A loss that the client itself finds. No count: nobody knows how much. */
export const loss = (name: string, count?: number, reason = 'lossy'): Frame => ({ t: 'gap', channels: [name], count, reason })

/** The wish for one channel or pattern, and those who share it. It outlives connections. */
export class Feed {
  readonly consumers = new Set<Consumer>()
  /** Granted ever: from now on it resumes. */
  began?: boolean
  /** A plugin's word that it may be followed (PROTOCOL §6). */
  pass?: string

  private readonly pattern: RegExp

  constructor(readonly name: string) {
    this.pattern = patternOf(name)
  }

  get active(): Consumer[] {
    return [...this.consumers].filter((c) => !c.paused)
  }

  /** An option that any of the consumers wants. */
  wish<K extends keyof SubOptions>(k: K): SubOptions[K] {
    return this.active.find((c) => c.o[k])?.o[k]
  }

  /** What a change of makes it another subscription. */
  get terms(): string {
    return `${this.wish('policy')} ${this.wish('presence')}`
  }

  concerns(channel: string): boolean {
    return this.pattern.test(channel)
  }

  /** Where a connection resumes: before what any of its consumers still needs. '' before it began. */
  cursor(): string {
    return before(this.active.map((c) => c.got.cursor()))
  }

  /** Hands a frame to those it is new for. loose: it came by datagram. */
  deliver(f: Frame, loose?: boolean): void {
    for (const c of this.active) {
      const { got } = c
      if (f.t === 'msg') {
        const missing = got.message(f.channel, f.stamp, loose)
        if (missing === undefined) continue
        if (missing > 0 && loose) c.push(loss(this.name, missing))
        if (got.again(f)) continue
      } else if (f.t === 'gap') {
        if (repeated(got, f)) continue
        got.recount(f)
      } else if (!c.o.presence) continue
      c.push(f)
    }
  }

  /** What the relay says: all up to here has come. */
  progress(cursor: string): void {
    for (const c of this.active) c.progress(cursor)
  }

  /** Records that it is granted and begins at cursor. What resumes keeps its own place. node: that counts what it sends by datagram. */
  stand(cursor?: string, node?: string): void {
    this.began = true
    for (const c of this.active) {
      if (cursor && (node || !c.got.cursor())) c.progress(cursor)
      if (node) c.got.count(node)
      c.granted()
    }
  }
}

/** Whether all that a gap tells was told or received before: it comes again when a connection begins before this place. */
const repeated = (got: Trail, { ranges }: Frame): boolean => !!ranges?.every((r: any) => got.covers(r.origin, r.to))
