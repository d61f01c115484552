import type { Chappe as Client, ChappeConstructor } from './api.js'
import { Machine } from './machine.js'

export const Chappe: ChappeConstructor = Machine
export type Chappe = Client
export { ChappeError } from './errors.js'
export type {
  Ack,
  Channel,
  ChannelEvent,
  ChannelEvents,
  ChannelOptions,
  ChappeConstructor,
  ClientEvents,
  Events,
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
