import type { SubOptions } from './api.js'
import { before, type Trail } from './position.js'
import { patternOf, type Frame } from './wire.js'

/** Somebody who follows a channel: a Channel of this page, or another tab. */
export interface Consumer {
  readonly o: SubOptions
  /** After what was received. */
  readonly got: Trail
  /** It takes nothing now, and will be given again from `got`. */
  paused: boolean
  /** Where the stream begins. Throws what is not a cursor. */
  begin(cursor: string): void
  push(f: Frame): void
  progress(cursor: string): void
  /** The relay has granted it. May be told again. */
  granted(): void
  end(e: Error): void
}

/** The wish for one channel or pattern, and those who share it. It outlives connections. */
export class Feed {
  readonly consumers = new Set<Consumer>()
  /** Granted ever: from now on it resumes. */
  began = false
  /** A plugin's word that it may be followed (PROTOCOL §6). */
  pass = ''

  private readonly pattern: RegExp | false

  constructor(readonly name: string) {
    this.pattern = /[*>]/.test(name) && patternOf(name)
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
    return channel === this.name || (this.pattern && this.pattern.test(channel))
  }

  /** Where a connection resumes: before what any of its consumers still needs. '' before it began. */
  cursor(): string {
    return before(this.active.map((c) => c.got.cursor()).filter(Boolean))
  }

  /** Hands a frame to those it is new for. */
  deliver(f: Frame, via?: string): void {
    for (const c of this.active) {
      if (f.t === 'msg') {
        const missing = c.got.message(f.channel, f.stamp)
        if (missing === undefined || c.got.again(f)) continue
        if (missing > 0 && via === 'datagram') c.push({ t: 'gap', channels: [this.name], count: missing, reason: 'lossy' })
      } else if (f.t === 'gap' ? repeated(c.got, f) : !c.o.presence) continue
      c.push(f)
    }
  }

  /** Records that it is granted and begins at cursor. What resumes keeps its own place. */
  stand(cursor?: string): void {
    this.began = true
    for (const c of this.active) {
      if (cursor && !c.got.cursor()) c.begin(cursor)
      c.granted()
    }
  }
}

/** Whether all that a gap tells was told or received before: it comes again when a connection begins before this place. */
const repeated = (got: Trail, { ranges }: Frame): boolean => !!ranges?.every((r: any) => got.covers(r.origin, r.to))
