/**
 * What applications give and get. Nothing here refers to the rest of the client:
 * a program is compiled against this, with or without the types of a browser.
 */
import type { ChappeError } from './errors.js'

/** A token, or what brings one when it is needed: at the first connection, shortly before the present one ends, and when the relay refused it. */
export type TokenSource = string | (() => string | Promise<string>)

/** How frames reach a relay. `tab` is another tab's connection. */
export type Transport = 'wt' | 'ws' | 'sse' | 'poll' | 'tab'

/** Keeps texts, as `sessionStorage` does. */
export interface Store {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

/** Options of a client. None is needed for an anonymous one. */
export interface Options {
  /** A token or API key, or a function that brings one: at the first connection, shortly before the present one ends, and when the relay refused it. */
  token?: TokenSource
  /** Transports that may be used, the best first. Default: WebTransport (where UDP works and the relay has it), WebSocket, event stream, long polling. */
  transports?: Exclude<Transport, 'tab'>[]
  /** One connection for all tabs of this origin with the same relay. Default: yes, unless `token` is a fixed text; then give a name that tells users apart. */
  share?: boolean | string
  /** Looks for the nearest of the regions that the relay tells, and moves there without a loss. Default: yes. */
  nearest?: boolean
  /** Where cursors are kept, as `sessionStorage`: a page that is loaded again goes on where it was. */
  store?: Store
  /** Names the application in the relay's log line. */
  agent?: string
  /** Closes the client. */
  signal?: AbortSignal
}

/** Where a client stands: docs/clients.md §1. */
export interface State {
  phase: 'idle' | 'connecting' | 'live' | 'waiting' | 'closed'
  /** connecting, live: which relay. */
  url?: string
  /** live: as the relay calls it. */
  region?: string
  /** live: for support and logs. */
  session?: string
  /** live: how frames travel; `tab`: over another tab's connection. */
  transport?: Transport
  /** waiting, closed: why. */
  error?: Error
  /** waiting: the next attempt. */
  until?: Date
}

/** What a client hears. */
export interface ClientEvents {
  state: (s: State) => void
  /** A loss in any channel, when it is taken. */
  gap: (g: Gap) => void
}

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

/** One session in a channel. */
export interface Member {
  session: string
  user?: string
  /** 'away': its node was lost, and it is expected back (PROTOCOL §6). */
  state?: string
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

/** What a channel's handlers hear. */
export interface ChannelEvents<T = any> {
  message: (m: Message<T>) => void
  gap: (g: Gap) => void
  presence: (p: Presence) => void
  /** The subscription ended: refused, or taken away. */
  error: (e: ChappeError) => void
}

/** Where a subscription begins and what it delivers. */
export interface SubOptions {
  /** Begin after this cursor; it wins over `last`. */
  cursor?: string
  /** Begin with the newest N messages that the relay keeps. */
  last?: number
  /** What happens when this reader is overrun: `resume` (default), `latest`, `conflate` (the newest of each key) or `close`. */
  policy?: 'resume' | 'latest' | 'conflate' | 'close'
  /** Deliver presence events. */
  presence?: boolean
  /** WebTransport: a stream of its own, or datagrams, for this channel. */
  via?: 'stream' | 'datagram'
}

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
