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
  /**
   * One connection for all tabs of this origin with the same relay whose tokens say the same, but for their times. Default: yes; tokens that
   * are no JWT say nothing, and are not shared. A name: all that give the same one share, with whatever tokens; it must tell users apart.
   */
  share?: boolean | string
  /** Looks for the nearest of the regions that the relay tells, and moves there without a loss. Default: yes. */
  nearest?: boolean
  /** Where cursors are kept, as `sessionStorage`: a page that is loaded again goes on where it was. */
  store?: Store
  /** SHA-256 of certificates, in base64: a relay that shows one of them over WebTransport is believed, whoever signed it. `chappe dev -tls` prints its own. */
  hashes?: string[]
  /** Names the application in the relay's log line. */
  agent?: string
  /** Gets what nobody else hears: the refusal of a channel that has no loop and no `error` handler. Default: `console.error`. */
  log?: (text: string) => void
  /** Closes the client. */
  signal?: AbortSignal
}

/** Tells events by name. */
export interface Events<E> {
  /** Calls f for each event. */
  on<K extends keyof E>(what: K, f: E[K]): this
  /** Calls f for the next event alone. */
  once<K extends keyof E>(what: K, f: E[K]): this
  /** Undoes `on` and `once`. */
  off<K extends keyof E>(what: K, f: E[K]): this
}

/**
 * A connection to a relay, or the wish for one: it connects when it is first
 * used, comes back by itself, and never loses or repeats a message without
 * saying so.
 *
 * ```ts
 * const client = new Chappe('https://relay.example', { token: () => fetch('/token').then((r) => r.text()) })
 * for await (const m of client.channel('rides.42')) console.log(m.data)
 * ```
 */
export interface Chappe extends Events<ClientEvents> {
  /** Where the client stands now. */
  readonly state: State
  /** A channel, as `rides.42`, or a pattern, as `rides.*` or `rides.>`. Those of one name share one subscription. */
  channel<T = any>(name: string, o?: ChannelOptions): Channel<T>
  /** Publishes a message. Resolves when the relay has it; goes on over lost connections until the signal aborts. Rejects with a ChappeError if refused. */
  publish(channel: string, data: unknown, o?: PublishOptions): Promise<Ack>
  /** Ends all channels and the connection, for good. Loops end in peace; what waits for an answer rejects with code `closed`. */
  close(): void
}

/** Makes clients. */
export interface ChappeConstructor {
  /** @param url of the relay, in front of /v1: http, https, ws or wss. Further ones are tried in order when the first cannot be reached. */
  new (url: string | string[], o?: Options): Chappe
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
  /** waiting, closed: why. Not in a tab that follows another. */
  error?: Error
  /** waiting: the next attempt. Not in a tab that follows another. */
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
  /** Ends the subscription; a loop throws its reason. */
  signal?: AbortSignal
}

/**
 * A named stream of messages, or a pattern of many. It is followed from the
 * first loop or handler on, and left by `close()`, by leaving the loop, or by
 * the signal.
 *
 * ```ts
 * for await (const m of client.channel('rides.42')) console.log(m.data)
 * ```
 *
 * A loop gives the messages; gaps and presence go to their handlers, in their
 * turn. It ends in peace when the channel or the client is closed; it throws the
 * signal's reason when that aborts, as `fetch` and Node's `events.on` do, and a
 * ChappeError when the relay refuses the channel or takes it away.
 */
export interface Channel<T = any> extends Events<ChannelEvents<T>>, AsyncIterable<Message<T>> {
  /** The channel or pattern that was asked for. */
  readonly name: string
  /** The place after the events that were taken from the loop, or given to a handler. Stored and given as `cursor`, to any relay of any region, it continues there. '' before the channel has begun. */
  readonly cursor: string
  /** Begins with the newest n messages, or after a cursor, whatever is stored. Before the first loop or handler. */
  rewind(to: number | string): this
  /** Follows the channel. Resolves when the relay has granted it, and rejects with a ChappeError when it refuses. Loops and handlers do it by themselves. */
  subscribe(): Promise<void>
  /** Publishes a message to this channel. */
  publish(data: T, o?: PublishOptions): Promise<Ack>
  /** A page of what the relay keeps. */
  history(o?: HistoryOptions): Promise<Page<T>>
  /** Who is in the channel. */
  presence(o?: { signal?: AbortSignal }): Promise<Member[]>
  /** All events in their order: messages, gaps and, if asked for, presence. It ends as a loop over the channel does. */
  events(): AsyncIterableIterator<ChannelEvent<T>>
  /** Ends the subscription. What waits is dropped. */
  close(): void
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
