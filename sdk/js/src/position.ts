/**
 * Positions and cursors (PROTOCOL §3): how far a subscription has come.
 *
 * An origin is kept as the eight characters of its bytes, so that comparing
 * strings is comparing numbers; with its shard as a ninth, where a pattern spans
 * shards. A tick of Infinity is an origin that has ended.
 */
import type { Frame } from './wire.js'

const unb64 = (text: string) => atob(text.replace(/-/g, '+').replace(/_/g, '/'))
const char = String.fromCharCode

/** The shard of a channel: FNV-1a over its first token, folded to eight bits. */
export function shard(channel: string): number {
  let h = 2166136261
  for (const c of channel.split('.')[0]!) h = Math.imul(h ^ c.charCodeAt(0), 16777619)
  return (h ^ (h >>> 8) ^ (h >>> 16) ^ (h >>> 24)) & 255
}

/** The low half of the CRC-32 (IEEE). */
function check(raw: string): string {
  let crc = -1
  for (const c of raw) {
    crc ^= c.charCodeAt(0)
    for (let k = 8; k--; ) crc = (crc >>> 1) ^ (crc & 1 && 0xedb88320)
  }
  return char((~crc >> 8) & 255, ~crc & 255)
}

export class Position {
  /** Ticks by origin, and by origin and shard where that is further. */
  ticks = new Map<string, number>()
  /** Sequence numbers of the last message, by origin; of a single channel. */
  seqs = new Map<string, number>()

  /** Lifts an origin, or one of its shards. */
  lift(at: string, tick: number): void {
    const origin = at.slice(0, 8)
    if (!this.ticks.has(origin)) this.ticks.set(origin, 0)
    if (tick > this.done(at)) this.ticks.set(at, tick)
  }

  done(at: string): number {
    return Math.max(this.ticks.get(at.slice(0, 8)) ?? 0, this.ticks.get(at) ?? 0)
  }

  merge(other: Position): void {
    for (const [at, tick] of other.ticks) this.lift(at, tick)
    for (const [origin, seq] of other.seqs) this.seqs.set(origin, seq)
  }

  /** The text that Position.parse reads. */
  cursor(): string {
    const at = [...this.ticks.keys()].sort()
    const newest = Math.max(...[...this.ticks.values()].filter(isFinite), 0)
    const origins = at.filter((k) => !k[8])
    const leads = at.filter((k) => k[8] && this.ticks.get(k)! > this.ticks.get(k.slice(0, 8))!)
    let raw = char(2)
    const uint = (n: number) => {
      for (; n > 127; n = Math.floor(n / 128)) raw += char((n % 128) | 128)
      raw += char(n)
    }
    const age = (k: string) => uint(Math.max(0, newest - this.ticks.get(k)! + 1))
    uint(newest)
    uint(origins.length)
    for (const o of origins) {
      raw += o
      age(o)
      uint(this.seqs.get(o) ?? 0)
    }
    uint(leads.length)
    for (const k of leads) {
      uint(origins.indexOf(k.slice(0, 8)))
      raw += k[8]
      age(k)
    }
    return btoa(raw + check(raw)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')
  }

  /** Throws what is not a cursor of this protocol. */
  static parse(cursor: string): Position {
    const p = new Position()
    const all = unb64(cursor)
    const raw = all.slice(0, -2)
    let at = 0
    const bad = () => {
      throw new Error('not a cursor')
    }
    const take = (n: number) => {
      if ((at += n) > raw.length) bad()
      return raw.slice(at - n, at)
    }
    const uint = (): number => {
      const c = take(1).charCodeAt(0)
      return c > 127 ? c - 128 + 128 * uint() : c
    }
    const version = uint()
    const newest = uint()
    const tick = () => newest + 1 - (uint() || -Infinity)
    const origins: string[] = []
    for (let n = uint(); n > 0; n--) {
      const o = take(8)
      origins.push(o)
      p.ticks.set(o, tick())
      if (version === 2 || version === 4) p.seqs.set(o, uint())
    }
    for (let n = uint(); n > 0; n--) {
      const k = origins[uint()] + take(1)
      p.ticks.set(k, tick())
    }
    // What versions 3 and 4 have behind it is for the relay alone.
    if ((version < 3 && at !== raw.length) || check(raw) !== all.slice(-2) || !version || version > 4) bad()
    return p
  }
}

/**
 * How far one subscription has come. It exists twice: for what was received,
 * which decides where a new connection resumes, and for what the application
 * has taken, which is the cursor it may store (CLIENTS §5).
 */
export class Trail {
  private pos: Position | undefined
  /** Told by the relay and not merged yet: the newest covers all that it told before. */
  private next = ''

  /** The stamps of publications with an id, the newest 1024. */
  private readonly seen = new Map<string, string>()

  constructor(private readonly name: string) {}

  /** Sets where the stream begins. Throws what is not a cursor. */
  begin(cursor: string): void {
    this.pos = Position.parse(cursor)
    this.next = ''
  }

  progress(cursor: string): void {
    this.next = cursor
  }

  /** Whether a message is a copy of one that came before, under the stamp of another origin (CLIENTS §5). */
  again({ channel, id, from, data, stamp }: Frame): boolean {
    if (!id) return false
    const { seen } = this
    const key = JSON.stringify([channel, id, from, data]).slice(0, 999)
    const [origin, tick] = stamp.split('.')
    const [was, then] = seen.get(key)?.split('.') ?? []
    if (was && tick - +then! < 12e7) return was !== origin
    seen.set(key, stamp)
    if (seen.size > 1024) seen.delete(seen.keys().next().value!)
    return false
  }

  /** Moves behind a message. undefined: it was there before. Else how many numbers of its channel were skipped: the network may lose datagrams. */
  message(channel: string, stamp: string): number | undefined {
    const { pos, name } = this
    if (!pos) return 0
    const [text = '', tick, seq] = stamp.split('.')
    const origin = unb64(text)
    const at = /^[*>]/.test(name) ? origin + char(shard(channel)) : origin
    if (pos.ticks.has(origin) && Number(tick) <= pos.done(at)) return undefined
    pos.lift(at, Number(tick))
    if (name !== channel) return 0
    const last = pos.seqs.get(origin)
    pos.seqs.set(origin, Number(seq))
    return last ? Number(seq) - last - 1 : 0
  }

  /** Whether everything of an origin up to tick is behind this place. */
  covers(origin: string, tick: number): boolean {
    return this.pos?.ticks.get(unb64(origin))! >= tick
  }

  /** '' before the stream has begun. */
  cursor(): string {
    if (this.next) {
      try {
        const told = Position.parse(this.next)
        if (this.pos) this.pos.merge(told)
        else this.pos = told
      } catch {
        return this.next // of a relay that is newer than this client: as opaque to us as to anybody
      }
      this.next = ''
    }
    return this.pos?.ticks.size ? this.pos.cursor() : ''
  }
}

/**
 * A place before all of the given ones, for a connection that follows several
 * subscriptions from one cursor: what some of them had already comes again and is
 * dropped. An origin that one does not name is left out, which says the same as
 * there: done up to the history window before the newest (PROTOCOL §3.2).
 */
export function before(cursors: string[]): string {
  const [first = '', ...rest] = new Set(cursors)
  if (!rest.length) return first
  const all = [first, ...rest].map(Position.parse)
  const out = new Position()
  const origins = all.flatMap((p) => [...p.ticks.keys()].filter((k) => !k[8]))
  const common = origins.filter((o) => all.every((p) => p.ticks.has(o)))
  for (const o of common) out.lift(o, Math.min(...all.map((p) => p.ticks.get(o)!)))
  if (!common.length) for (const o of origins) out.lift(o, 0)
  return out.cursor()
}
