/**
 * Positions and cursors (PROTOCOL §3): how far a subscription has come.
 *
 * An origin is kept as the eight characters of its bytes, so that comparing
 * strings is comparing numbers; with its shard as a ninth, where a pattern spans
 * shards. A tick of Infinity is an origin that has ended.
 */
import { ChappeError } from './errors.js'
import type { Frame } from './wire.js'

/** The bytes of base64url, each as a character. */
export const unb64 = (text: string): string => atob(text.replace(/-/g, '+').replace(/_/g, '/'))
const char = String.fromCharCode

/** FNV-1a, 32 bits. */
function fnv(text: string): number {
  let h = 2166136261
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h
}

/** The shard of a channel: FNV-1a over its first token, folded to eight bits. */
export function shard(channel: string): number {
  const h = fnv(channel.split('.')[0]!)
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

const lines = 4096 // channels of a pattern whose numbers are kept

/** Drops the oldest of more than that. */
const forget = (all: Map<string, unknown>, most: number) => all.size > most && all.delete(all.keys().next().value!)

export interface Position {
  /** Ticks by origin, and by origin and shard where that is further. */
  ticks: Map<string, number>
  /** Sequence numbers of the last message: by origin, of a single channel; by origin and channel, of a pattern. */
  seqs: Map<string, number>
}

const done = ({ ticks }: Position, at: string) => Math.max(ticks.get(at.slice(0, 8)) ?? 0, ticks.get(at) ?? 0)

/** Lifts an origin, or one of its shards. */
export function lift(p: Position, at: string, tick: number): void {
  const origin = at.slice(0, 8)
  if (!p.ticks.has(origin)) p.ticks.set(origin, 0)
  if (tick > done(p, at)) p.ticks.set(at, tick)
}

/** The text that parse reads. */
export function cursorOf({ ticks, seqs }: Position): string {
  const at = [...ticks.keys()].sort()
  const newest = Math.max(0, ...[...ticks.values()].filter(isFinite))
  const origins = at.filter((k) => !k[8])
  const leads = at.filter((k) => k[8] && ticks.get(k)! > ticks.get(k.slice(0, 8))!)
  let raw = char(2)
  const uint = (n: number) => {
    for (; n > 127; n = Math.floor(n / 128)) raw += char((n % 128) | 128)
    raw += char(n)
  }
  const age = (k: string) => uint(Math.max(0, newest - ticks.get(k)! + 1))
  uint(newest)
  uint(origins.length)
  for (const o of origins) {
    raw += o
    age(o)
    uint(seqs.get(o) ?? 0)
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
export function positionOf(cursor: string): Position {
  const p: Position = { ticks: new Map(), seqs: new Map() }
  const all = unb64(cursor)
  const raw = all.slice(0, -2)
  let at = 0
  const bad = () => {
    throw new ChappeError('bad_cursor')
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
    const seq = version % 2 ? 0 : uint()
    if (seq) p.seqs.set(o, seq) // 0: unknown
  }
  for (let n = uint(); n > 0; n--) {
    const k = origins[uint()] + take(1)
    p.ticks.set(k, tick())
  }
  // What versions 3 and 4 have behind it is for the relay alone.
  if ((version < 3 && at !== raw.length) || check(raw) !== all.slice(-2) || !version || version > 4) bad()
  return p
}

/**
 * How far one subscription has come. It exists twice: for what was received,
 * which decides where a new connection resumes, and for what the application
 * has taken, which is the cursor it may store (CLIENTS §5).
 */
export class Trail {
  private pos: Position | undefined
  /** Told by the relay and not merged yet: the newest covers all that it told before. */
  private next?: string
  private lossy?: boolean // some came by datagram

  /** The stamps of publications with an id, the newest 1024. */
  private readonly seen = new Map<string, string>()

  constructor(private readonly name: string) {}

  /** Sets where the stream begins. Throws what is not a cursor. */
  begin(cursor: string): void {
    this.pos = positionOf(cursor)
    this.next = undefined
  }

  progress(cursor: string): void {
    this.next = cursor
    if (!this.pos?.ticks.size) this.merge()
  }

  /** Whether a message is a copy of one that came before, under the stamp of another origin (CLIENTS §5). */
  again({ channel, id, from, data, stamp }: Frame): boolean {
    if (!id) return false
    const { seen } = this
    // Not the data itself, which may be long.
    const key = JSON.stringify([channel, id, from, fnv(JSON.stringify(data) ?? '')])
    const [origin, tick] = stamp.split('.')
    const [was, then] = seen.get(key)?.split('.') ?? []
    if (was && tick - +then! < 12e7) return was !== origin
    seen.set(key, stamp)
    forget(seen, 1024)
    return false
  }

  /** Moves behind a message. undefined: it was there before. Else how many numbers of its channel were skipped: the network may lose datagrams. */
  message(channel: string, stamp: string, lossy?: boolean): number | undefined {
    const { pos, name } = this
    if (!pos) return 0
    const [text = '', tick, seq] = stamp.split('.')
    const origin = unb64(text)
    const at = /^[*>]/.test(name) ? origin + char(shard(channel)) : origin
    if (pos.ticks.has(origin) && +tick! <= done(pos, at)) return undefined
    lift(pos, at, +tick!)
    this.lossy ||= lossy
    if (name !== channel && !this.lossy) return 0
    const { seqs } = pos
    const line = name === channel ? origin : origin + channel
    const last = seqs.get(line)
    seqs.delete(line) // to be the newest
    seqs.set(line, +seq!)
    forget(seqs, lines)
    return last === undefined ? 0 : +seq! - last - 1
  }

  /** The node that grants a channel says in its cursor which of its messages was the last, and nothing where there was none. */
  count(node: string): void {
    this.merge()
    const seqs = this.pos?.seqs
    const origin = unb64(node)
    if (!seqs?.has(origin)) seqs?.set(origin, 0)
  }

  /** A loss was told: the numbers that it skips are not counted again. */
  recount({ ranges = [{}] }: Frame): void {
    const seqs = this.pos?.seqs
    for (const { origin, seq } of ranges) {
      if (seq) seqs?.set(unb64(origin), seq)
      else seqs?.clear()
    }
  }

  /** Whether everything of an origin up to tick is behind this place. */
  covers(origin: string, tick: any): boolean {
    this.merge()
    return this.pos?.ticks.get(unb64(origin))! >= (+tick || Infinity)
  }

  /** '' before the stream has begun. */
  cursor(): string {
    this.merge()
    return this.next || (this.pos?.ticks.size ? cursorOf(this.pos) : '')
  }

  private merge(): void {
    if (!this.next) return
    try {
      const told = positionOf(this.next)
      this.pos ??= told
      for (const [at, tick] of told.ticks) lift(this.pos, at, tick)
      for (const [line, seq] of told.seqs) this.pos.seqs.set(line, seq)
      this.next = undefined
    } catch {
      // of a relay that is newer than this client: as opaque to us as to anybody
    }
  }
}

/**
 * A place before all of the given ones, for a connection that follows several
 * subscriptions from one cursor: what some of them had already comes again and is
 * dropped. An origin that one does not name is left out, which says the same as
 * there: done up to the history window before the newest (PROTOCOL §3.2).
 */
export function before(cursors: (string | undefined)[]): string {
  const [first = '', ...rest] = new Set(cursors.filter((c) => c)) as Set<string>
  if (!rest.length) return first
  const all = [first, ...rest].map(positionOf)
  const out: Position = { ticks: new Map(), seqs: new Map() }
  const origins = all.flatMap((p) => [...p.ticks.keys()].filter((k) => !k[8]))
  for (const o of origins) {
    const tick = Math.min(...all.map((p) => p.ticks.get(o)!))
    if (tick >= 0) lift(out, o, tick) // not so where one does not name it
  }
  if (!out.ticks.size) for (const o of origins) lift(out, o, 0)
  return cursorOf(out)
}
