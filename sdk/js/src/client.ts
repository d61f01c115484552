import type { Ack, ChannelOptions, ClientEvents, HistoryOptions, Member, Options, Page, PublishOptions, State } from './api.js'
import { Channel } from './channel.js'
import { env } from './env.js'
import { Machine } from './machine.js'
import { baseOf } from './pace.js'
import { publish } from './publish.js'
import { Tabs } from './tabs.js'

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
export class Chappe {
  private readonly m: Machine

  /** @param url of the relay, in front of /v1: http, https, ws or wss. Further ones are tried in order when the first cannot be reached. */
  constructor(url: string | string[], o: Options = {}) {
    const urls = [url].flat().map(baseOf)
    const { token, transports = ['wt', 'ws', 'sse', 'poll'], nearest = true, store, share = typeof token !== 'string', signal } = o
    this.m = new Machine({ urls, token, transports, nearest, store, agent: `chappe-js/1 ${o.agent ?? ''}`.trim() })
    if (share && env.locks && env.BroadcastChannel) this.m.tabs = new Tabs(this.m, `chappe:${urls[0]}:${share}`)
    signal?.addEventListener('abort', () => this.close())
    if (signal?.aborted) this.close()
  }

  /** Where the client stands now. */
  get state(): State {
    return this.m.state
  }

  /** A channel, as `rides.42`, or a pattern, as `rides.*` or `rides.>`. Those of one name share one subscription. */
  channel<T = any>(name: string, o?: ChannelOptions): Channel<T> {
    return new Channel<T>(this.m, name, o)
  }

  /** Publishes a message. Resolves when the relay has it; goes on over lost connections until the signal aborts. Rejects with a ChappeError if refused. */
  publish(channel: string, data: unknown, o?: PublishOptions): Promise<Ack> {
    return publish(this.m, channel, data, o)
  }

  /** A page of what the relay keeps of a channel or pattern. */
  history<T = any>(channel: string, o?: HistoryOptions): Promise<Page<T>> {
    return new Channel(this.m, channel).history(o)
  }

  /** Who is in a channel. */
  presence(channel: string, o?: { signal?: AbortSignal }): Promise<Member[]> {
    return new Channel(this.m, channel).presence(o)
  }

  /** Calls f for each event. */
  on<K extends keyof ClientEvents>(what: K, f: ClientEvents[K]): this {
    this.m.handlers.of(what).add(f)
    return this
  }

  /** Undoes `on`. */
  off<K extends keyof ClientEvents>(what: K, f: ClientEvents[K]): this {
    this.m.handlers.of(what).delete(f)
    return this
  }

  /** Ends all channels and the connection, for good. */
  close(): void {
    this.m.close()
  }
}
