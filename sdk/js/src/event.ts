import type { ChannelEvent, Gap, Message } from './api.js'
import { bytesOf, type Frame } from './wire.js'

export function messageOf({ channel, stamp, id, key, event, from, data, enc }: Frame): Message {
  const time = new Date(stamp.split('.')[1] / 1000)
  return { type: 'message', channel, data: enc === 'base64' ? bytesOf(data) : data, stamp, time, id, key, event, from }
}

export const gapOf = ({ channels = [], count = 0, reason }: Frame): Gap => ({ type: 'gap', channels, count, reason })

/** What a frame is to an application. */
export const eventOf = (f: Frame): ChannelEvent => {
  const { t, channel, action, members = [] } = f
  return t === 'msg' ? messageOf(f) : t === 'gap' ? gapOf(f) : { type: 'presence', channel, action, members }
}
