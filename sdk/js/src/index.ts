export { Chappe, type Options } from './client.js'
export {
  Channel,
  type Ack,
  type ChannelEvent,
  type ChannelOptions,
  type Gap,
  type HistoryOptions,
  type Message,
  type Page,
  type Presence,
  type PublishOptions,
} from './channel.js'
export { ChappeError } from './errors.js'
export type { SubOptions } from './feed.js'
export type { ClientEvents, State } from './machine.js'
export type { Member } from './wire.js'
