import type { Consumer, Feed } from './feed.js'
import type { Machine } from './machine.js'
import type { Frame } from './wire.js'

/** Gives the newest messages to consumers of a stream that runs already, by way of history, and has them followed from there. */
export async function rewind(m: Machine, feed: Feed, to: Consumer[]): Promise<void> {
  for (const c of to) c.paused = true
  const now = feed.cursor() || m.link?.told
  const page = m.request({ t: 'history', channel: feed.name, last: to[0]!.o.last })
  // Where no history is kept it begins now.
  const { messages = [], cursor = now } = await page.catch(() => ({}) as Frame)
  for (const c of to) {
    if (!feed.consumers.has(c)) continue // it left in the meantime
    for (const f of messages) c.push({ t: 'msg', ...f })
    if (cursor) c.progress(cursor)
    c.paused = false
    if (feed.began) c.granted()
  }
  m.sync(feed.name)
}
