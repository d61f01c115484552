export { Chappe } from './client.js'
export type { Channel } from './channel.js'
export { ChappeError } from './errors.js'
export type {
  Ack,
  ChannelEvent,
  ChannelEvents,
  ChannelOptions,
  ClientEvents,
  Gap,
  HistoryOptions,
  Member,
  Message,
  Options,
  Page,
  Presence,
  PublishOptions,
  State,
  Store,
  SubOptions,
  TokenSource,
  Transport,
} from './api.js'
