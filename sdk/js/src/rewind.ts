import type { Consumer, Feed } from './feed.js'
import type { Machine } from './machine.js'

/** Gives the newest messages to consumers of a stream that runs already, by way of history, and has them followed from there. */
export async function rewind(m: Machine, feed: Feed, to: Consumer[]): Promise<void> {
  for (const c of to) c.paused = true
  let begin = feed.cursor() || m.link?.told
  try {
    const { messages = [], cursor } = await m.request({ t: 'history', channel: feed.name, last: to[0]!.o.last })
    for (const f of messages) for (const c of to) c.push({ t: 'msg', ...f })
    begin = cursor
  } catch {
    // No history is kept: it begins now.
  }
  for (const c of to) {
    if (begin) c.begin(begin)
    c.paused = false
    if (feed.began) c.granted()
  }
  m.again(feed)
}
